"""`metier corpus STEP`: the steps of the corpus room on plain files, without a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import click

from metier.cli.options import json_option

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from metier.core.artifact import Artifact
    from metier.core.step import Step

_ROOM = "metier.corpus"
_TABLES = (".jsonl", ".parquet")


class _Steps(click.Group):
    """One command for each step of the room, its options the step's fields."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_steps()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        kind = _steps().get(cmd_name)
        return _command(kind) if kind is not None else super().get_command(ctx, cmd_name)


@click.group(cls=_Steps)
def corpus() -> None:
    """Prepare documents: read, clean, deduplicate, anonymise, mix, pack. On plain files, one step at a time.

    Each command takes files, a folder, or what another of these commands wrote, and writes Parquet or JSONL. The same
    steps, with the same fields, stand in recipes; --as-recipe prints how.

    \b
    Examples:
      metier corpus read ~/handbook -o pages
      metier corpus dedup pages -o unique --threshold 0.8
      metier corpus anonymise unique -o safe.jsonl
    """


def _steps() -> dict[str, type[Step[Any]]]:
    from metier.core.recipe import import_rooms
    from metier.core.step import STEPS

    import_rooms()
    found = [kind for kind in STEPS.values() if kind.__module__.startswith(f"{_ROOM}.")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}


def _command(kind: type[Step[Any]]) -> click.Command:
    from pydantic_core import PydanticUndefined

    fields = dict(kind.model_fields)
    first = next((name for name, info in fields.items() if info.is_required()), next(iter(fields)))
    params: list[click.Parameter] = [_argument(first, fields.pop(first))]
    for name, info in fields.items():
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        shown = "required" if info.is_required() else _shown(default)
        text = (info.description or "") + (f"  [{shown}]" if shown and default is not PydanticUndefined else "")
        # Values are read as in a recipe, and checked by the step itself: one set of rules, one set of messages.
        flag = "--" + name.replace("_", "-")
        params.append(click.Option([flag, name], multiple=_is_many(info), metavar=_metavar(info), help=text))
    folder = click.Path(path_type=Path)
    params += [
        click.Option(["-o", "--output"], type=folder, help="A folder, or a .jsonl, .parquet or .html file."),
        click.Option(
            ["-w", "--workshop"],
            type=folder,
            default=".metier",
            show_default=True,
            help="Where finished work is kept, and unfinished work goes on.",
        ),
        click.Option(["--as-recipe"], is_flag=True, help="Print the recipe that does this, and stop."),
    ]

    def run(output: Path | None, workshop: Path, as_recipe: bool, as_json: bool, **values: Any) -> None:
        _run(kind, first, values, output, workshop, as_recipe, as_json)

    command = click.Command(kind.name, callback=run, params=params, help=_help(kind), short_help=_first_sentence(kind))
    return json_option(command)


def _argument(name: str, info: FieldInfo) -> click.Argument:
    many = _is_many(info)
    return click.Argument([name], nargs=-1 if many else 1, required=True, metavar="INPUT" + ("..." if many else ""))


def _is_many(info: FieldInfo) -> bool:
    return any(
        get_origin(kind) in (tuple, list, dict, Mapping) for kind in (info.annotation, *get_args(info.annotation))
    )


def _made_by(info: FieldInfo) -> str | None:
    """Return the kind of artifact that a field's step makes ("Documents"), or None if the field holds no step."""
    from metier.core.step import Step

    stack = [info.annotation]
    while stack:
        kind = stack.pop()
        if isinstance(kind, type) and issubclass(kind, Step):
            return str(kind.__pydantic_generic_metadata__["args"][0].__name__)
        stack += get_args(kind)
    return None


def _metavar(info: FieldInfo) -> str:
    made = _made_by(info)
    if made is not None:
        return {"Documents": "FILES", "Model": "MODEL"}.get(made, made.upper())
    return "VALUE"


def _shown(default: Any) -> str:
    if default is None or default in ((), {}):
        return ""
    return "default: " + (" ".join(map(str, default)) if isinstance(default, tuple) else str(default))


def _first_sentence(kind: type[Step[Any]]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _help(kind: type[Step[Any]]) -> str:
    paragraphs = [" ".join(part.split()) for part in (kind.__doc__ or "").split("\n\n")]
    return "\n\n".join(paragraphs)


def _run(
    kind: type[Step[Any]],
    first: str,
    values: dict[str, Any],
    output: Path | None,
    workshop: Path,
    as_recipe: bool,
    as_json: bool,
) -> None:
    from metier.core.progress import Progress
    from metier.core.recipe import build_recipe, dump_recipe
    from metier.core.workshop import Workshop

    written: dict[str, Any] = {}
    entry: dict[str, Any] = {"step": kind.name}
    for name, value in values.items():
        if value not in (None, ()):
            entry[name] = _entry(value, kind.model_fields[name], written, name)
    recipe = build_recipe({**written, kind.name: entry}, Path.cwd())
    if as_recipe:
        click.echo(dump_recipe(recipe), nl=False)
        return
    shop = Workshop(workshop, progress=Progress.here())
    artifact = shop.make(recipe.step(kind.name), recipe.names)
    target = _write(artifact, output) if output is not None else artifact.folder
    _tell(artifact, target, as_json)


def _entry(value: Any, info: FieldInfo, written: dict[str, Any], name: str) -> Any:
    """Return a field's value as a recipe would hold it; files that stand for a step become a step of their own."""
    made = _made_by(info)
    if isinstance(value, tuple):
        mapping = any(get_origin(kind) in (dict, Mapping) for kind in (info.annotation, *get_args(info.annotation)))
        if not mapping:
            return [_entry(item, info, written, f"{name}-{at}") for at, item in enumerate(value, 1)]
        pairs = [item.partition("=") for item in value]
        wrong = next((key for key, equals, _ in pairs if not equals), None)
        if wrong is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} {wrong}: write it as NAME=VALUE")
        return {key: _entry(item, info, written, key) for key, _, item in pairs}
    if made is not None and not (_takes_files(info) and not _is_saved(Path(value))):
        written[f"{name}-input"] = _source(value, made)
        return f"${name}-input"
    return _plain(value, info)


def _plain(text: str, info: FieldInfo) -> Any:
    import yaml

    from metier.core.step import LocalPath

    kinds = (info.annotation, *get_args(info.annotation))
    if LocalPath in kinds or (str in kinds and text.lower() not in ("null", "none")):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _takes_files(info: FieldInfo) -> bool:
    """Say whether a field that takes a step takes files as they are too."""
    from metier.core.step import LocalPath

    return LocalPath in get_args(info.annotation)


def _is_saved(path: Path) -> bool:
    """Say whether a folder holds documents that Metier wrote."""
    return any(folder.is_dir() and any(folder.glob("part-*.parquet")) for folder in (path, path / "documents"))


def _source(text: str, made: str) -> dict[str, Any]:
    """Return the step that a path on the command line stands for."""
    path = Path(text)
    if made == "Documents":
        return {"step": "saved-documents" if _is_saved(path) else "read", "folder": text}
    if made == "Classifier":
        return {"step": "saved-classifier", "folder": text}
    if made == "Model":
        return {"step": "local-model", "folder": text} if path.exists() else {"step": "packaged-gguf", "package": text}
    if made == "Classifier":
        return {"step": "saved-classifier", "folder": text}
    from metier.core.errors import Mistake

    raise Mistake(
        f"no file on the command line can stand for {made.lower()}",
        found=text,
        hint="write a recipe: --as-recipe prints the beginning of one",
    )


def _write(artifact: Artifact, output: Path) -> Path:
    """Write the artifact where the user wants it: a table by its suffix, else a folder with the artifact's files."""
    import os
    import shutil

    from metier.core.errors import Mistake
    from metier.core.files import files_below
    from metier.core.types import Documents

    if output.suffix == ".html" and (artifact.folder / "report.html").is_file():
        shutil.copyfile(artifact.folder / "report.html", output)
        return output
    if output.suffix in _TABLES:
        if not isinstance(artifact, Documents):
            raise Mistake(
                f"{type(artifact).__name__.lower()} cannot be written to {output.name}", hint="give a folder: -o OUT"
            )
        return _write_table(artifact, output)
    if (
        output.exists()
        and any(output.iterdir() if output.is_dir() else [output])
        and not (output / "record.json").is_file()
    ):
        raise Mistake(f"{output} is there and was not made by Metier", hint="choose another folder: -o OUT")
    shutil.rmtree(output, ignore_errors=True)
    for path in [*files_below(artifact.folder)]:
        target = output / path.relative_to(artifact.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
    return output


def _write_table(artifact: Any, output: Path) -> Path:
    import pyarrow.parquet as pq

    temporary = output.with_name(f".{output.name}.tmp")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".jsonl":
        with temporary.open("w", encoding="utf-8") as out:
            for document in artifact.rows():
                told = {name: value for name, value in document._asdict().items() if value not in (None, "")}
                out.write(json.dumps({"text": "", **told}, ensure_ascii=False) + "\n")
    else:
        with pq.ParquetWriter(temporary, pq.read_schema(artifact.shards[0]), compression="zstd") as writer:
            for shard in artifact.shards:
                with pq.ParquetFile(shard) as file:
                    for batch in file.iter_batches(2000):
                        writer.write_batch(batch)
    temporary.replace(output)
    return output


def _tell(artifact: Artifact, target: Path, as_json: bool) -> None:
    record = artifact.record
    if as_json:
        told = {"output": str(target), "artifact": str(artifact.folder), "ledger": record.ledger.as_json()}
        click.echo(
            json.dumps({**told, "figures": record.figures, "warnings": record.warnings}, indent=2, ensure_ascii=False)
        )
        return
    for line in record.ledger.lines:
        click.echo(f"{line.came:,} {line.unit}s came, {line.kept:,} kept")
        for reason, count in sorted(line.dropped.items(), key=lambda item: -item[1]):
            click.echo(f"  {count:>9,}  {reason}")
    for warning in record.warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"written: {target}")


@corpus.command()
@click.argument("wanted", metavar="ID")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-r", "--recipe", type=click.Path(path_type=Path), default=None, help="Follow it through a recipe's steps."
)
@click.option("-w", "--workshop", type=click.Path(path_type=Path), help="Of the recipe. [default: runs/ beside it]")
@json_option
def trace(wanted: str, folders: tuple[Path, ...], recipe: Path | None, workshop: Path | None, as_json: bool) -> None:
    """Tell the life of one document, by its id or its source: which step changed it, which left it out, and why.

    \b
    Examples:
      metier corpus trace lang_select.html -r demo
      metier corpus trace 989b12af511a9b1a pages clean unique
    """
    from metier.core.errors import Mistake
    from metier.corpus.look import trace as stations

    chain = _chain_of_recipe(recipe, workshop) if recipe is not None else [_named(folder) for folder in folders]
    if not chain:
        raise click.UsageError("name the recipe with -r, or the folders that `metier corpus` wrote, in their order")
    found = list(stations(wanted, chain))
    if all(station.outcome == "not there" for station in found):
        raise Mistake(f"no document has the id or source '{wanted}'", hint="`metier show NAME` prints ids and sources")
    if as_json:
        click.echo(json.dumps([station._asdict() for station in found], indent=2, ensure_ascii=False))
        return
    for station in found:
        click.echo(f"{station.step}: {station.outcome}" + (f", {station.detail}" if station.detail else ""))


def _chain_of_recipe(recipe: Path, workshop: Path | None) -> list[tuple[str, Any]]:
    from metier.cli.options import open_recipe, open_workshop
    from metier.core.types import Documents

    loaded, shop = open_recipe(recipe, ()), open_workshop(recipe, workshop)
    found = [(name, shop.find(step)) for name, step in loaded.steps.items()]
    return [(name, artifact) for name, artifact in found if isinstance(artifact, Documents)]


def _named(folder: Path) -> tuple[str, Any]:
    from metier.core.errors import Mistake
    from metier.core.types import Documents

    documents = Documents(folder)
    if not documents.shards:
        raise Mistake(f"{folder} holds no documents of Metier", found="no documents/part-*.parquet in it")
    return folder.name, documents
