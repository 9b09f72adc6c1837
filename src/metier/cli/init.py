"""The command that begins a project from a recipe that ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

_OWN = "documents"  # the recipe for documents of one's own


def shipped() -> dict[str, str]:
    """Return what each recipe in the package is for, in the first sentence of it, by its name; one's own first."""
    files = [file for file in (resources.files("metier") / "recipes").iterdir() if file.name.endswith(".yaml")]
    names = sorted((file.name.removesuffix(".yaml") for file in files), key=lambda name: (name != _OWN, name))
    return {name: _text(name).split("\n")[0].removeprefix("# ").split(". ")[0].rstrip(".") for name in names}


def _text(name: str) -> str:
    return (resources.files("metier") / "recipes" / f"{name}.yaml").read_text()


def _list(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        told = shipped()
        width = max(map(len, told))
        for name, words in told.items():
            click.echo(f"{name:<{width}}  {words}")
        context.exit()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    "name",
    type=click.Choice(list(shipped())),
    default=_OWN,
    show_default=True,
    help="Which of the recipes that ship.",
)
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Show what each is for.")
@click.option(
    "--from",
    "documents",
    type=click.Path(path_type=Path),
    help="Folder of HTML, Markdown, text or PDF. [default: FOLDER/documents]",
)
def init(folder: Path, name: str, documents: Path | None) -> None:
    """Write a commented recipe into a new FOLDER: for your own documents, or another that ships.

    \b
    Examples:
      metier init law --from ~/texts
      metier plan -r law
      metier init --list
      metier init specialist --recipe sqlite-grpo
    """
    from metier.cli.options import DEFAULT_RECIPE
    from metier.core.errors import Mistake, from_os_error
    from metier.core.files import write_text_atomic
    from metier.demo import RECIPES

    if documents is not None and name != _OWN:
        raise Mistake(f"the recipe {name} brings its own documents", hint="leave out --from")
    # The demo's recipes keep the names that `metier demo` gives them, so that it adds what they need beside them.
    recipe = folder / next((file for file, source in RECIPES.items() if source == f"{name}.yaml"), DEFAULT_RECIPE)
    if recipe.exists():
        raise Mistake(f"{recipe} is there already", hint="choose another folder; nothing was changed")
    if documents is not None:
        if not documents.is_dir():
            raise Mistake(f"--from {documents} is not a folder", hint="give the folder that holds your documents")
        if not any(path.is_file() for path in documents.rglob("*")):
            raise Mistake(f"--from {documents} holds no files", hint="put HTML, Markdown, text or PDF files into it")
    place = str(documents.absolute()) if documents is not None else "documents/"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if documents is None and name == _OWN:
            (folder / "documents").mkdir(exist_ok=True)
        write_text_atomic(recipe, _text(name).replace("DOCUMENTS", place) if name == _OWN else _text(name))
    except OSError as error:
        raise from_os_error(error, f"writing {recipe}") or error from error
    click.echo(f"wrote {recipe}")
    if name != _OWN:
        click.echo(f"its documents: metier demo {folder} --material-only")
        click.echo(f"next: metier plan -r {recipe}")
        return
    if documents is None:
        click.echo(f"put your documents into {folder / 'documents'}")
    click.echo(f"next: metier plan -r {folder}")
