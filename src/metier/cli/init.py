"""The command that begins a project of one's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "documents",
    type=click.Path(path_type=Path),
    help="Folder of HTML, Markdown, text or PDF. [default: FOLDER/documents]",
)
def init(folder: Path, documents: Path | None) -> None:
    """Write a commented recipe into a new FOLDER.

    \b
    Examples:
      metier init law --from ~/texts
      metier plan -r law
    """
    from metier.cli.options import DEFAULT_RECIPE
    from metier.core.errors import Mistake, from_os_error
    from metier.core.files import write_text_atomic

    recipe = folder / DEFAULT_RECIPE
    if recipe.exists():
        raise Mistake(f"{recipe} is there already", hint="choose another folder; nothing was changed")
    if documents is not None:
        if not documents.is_dir():
            raise Mistake(f"--from {documents} is not a folder", hint="give the folder that holds your documents")
        if not any(path.is_file() for path in documents.rglob("*")):
            raise Mistake(f"--from {documents} holds no files", hint="put HTML, Markdown, text or PDF files into it")
    template = (resources.files("metier") / "recipes" / "documents.yaml").read_text()
    place = str(documents.absolute()) if documents is not None else "documents/"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if documents is None:
            (folder / "documents").mkdir(exist_ok=True)
        write_text_atomic(recipe, template.replace("DOCUMENTS", place))
    except OSError as error:
        raise from_os_error(error, f"writing {recipe}") or error from error
    click.echo(f"wrote {recipe}")
    if documents is None:
        click.echo(f"put your documents into {folder / 'documents'}")
    click.echo(f"next: metier plan -r {folder}")
