"""Write the reference pages from the code: `python -m metier.cli.reference docs/reference`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic_core import PydanticUndefined

from metier.cli import COMMANDS, group
from metier.core.files import write_text_atomic
from metier.core.recipe import import_rooms
from metier.core.step import STEPS, Step

_MADE = "<!-- made from the code by `make docs`; do not edit -->\n"


def cli_page() -> str:
    """Return the help of every command as Markdown."""
    parts = [f"{_MADE}\n# The command line\n", _help(group, "metier")]
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        if command is None:
            continue
        parts += [f"\n## metier {name}\n", _help(command, f"metier {name}")]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for inner in command.list_commands(context):
                below = command.get_command(context, inner)
                if below is not None:
                    parts += [f"\n### metier {name} {inner}\n", _help(below, f"metier {name} {inner}")]
    parts.append(
        "\nExit codes: 0 it worked, 1 it failed, 2 the recipe, the input or the machine has to be mended first.\n"
    )
    return "\n".join(parts)


def _help(command: click.Command, name: str) -> str:
    # The names of the help option as `metier` passes them down; click remembers the first it is asked with.
    names = group.context_settings["help_option_names"]
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100, help_option_names=names)
    return f"```text\n{command.get_help(context)}\n```"


def recipe_page() -> str:
    """Return every step with its fields as Markdown."""
    import_rooms()
    parts = [
        f"{_MADE}\n# Steps and their fields\n",
        "A recipe names steps; `$name` hands one step's artifact to another.\n",
    ]
    for kind in sorted(STEPS.values(), key=lambda kind: (kind.__module__, kind.name)):
        if kind.__module__.startswith("metier."):
            parts.append(_step_section(kind))
    return "\n".join(parts)


def _step_section(kind: type[Step[Any]]) -> str:
    summary = (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    extras = ", ".join(f"`metier[{extra}]`" for extra in kind.extras) or "nothing extra"
    lines = [f"## {kind.name}\n", f"{' '.join(summary.split())} Makes *{kind.makes.__name__}*; needs {extras}.\n"]
    if kind.model_fields:
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, info in kind.model_fields.items():
        default = "required"
        if not info.is_required():
            value = info.get_default(call_default_factory=True, validated_data={})
            default = "required" if value is PydanticUndefined else f"`{value!r}`"
        meaning = (info.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{_type_name(info.annotation)}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (Union, UnionType):
        return " \\| ".join(_type_name(argument) for argument in arguments)
    if origin is Literal:
        return " \\| ".join(repr(argument) for argument in arguments)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_type_name(argument) for argument in arguments)}]"
    if annotation in (None, NoneType):
        return "None"
    return "..." if annotation is Ellipsis else str(getattr(annotation, "__name__", annotation))


def write_pages(folder: Path) -> list[Path]:
    """Write both pages and return their paths."""
    pages = {folder / "cli.md": cli_page(), folder / "recipe.md": recipe_page()}
    for path, text in pages.items():
        write_text_atomic(path, text)
    return list(pages)


if __name__ == "__main__":
    for written in write_pages(Path(sys.argv[1])):
        print(written)
