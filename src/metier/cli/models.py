"""Commands that let an exported model answer: serve, chat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metier.cli.options import finished, open_recipe, open_workshop, recipe_and_targets, recipe_options

if TYPE_CHECKING:
    from metier.core.chat import Message
    from metier.serve.llama import LlamaChat


def _export_folder(recipe: Path, workshop: Path | None, changes: tuple[str, ...], targets: tuple[str, ...]) -> Path:
    """Return the folder of the recipe's finished export, or the folder given if it is one itself."""
    from metier.core.types import Export

    if targets and any(Path(targets[0]).glob("*.gguf")):
        return Path(targets[0])
    recipe, targets = recipe_and_targets(recipe, targets)
    loaded, shop = open_recipe(recipe, changes), open_workshop(recipe, workshop)
    return finished(loaded, shop, Export, targets[0] if targets else None).folder


@click.command()
@click.argument("export", nargs=-1)
@recipe_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8080, show_default=True, help="Port to listen at.")
@click.option("--api-key-env", metavar="VARIABLE", help="Environment variable with the key that clients must send.")
def serve(
    export: tuple[str, ...],
    recipe: Path,
    workshop: Path | None,
    changes: tuple[str, ...],
    host: str,
    port: int,
    api_key_env: str | None,
) -> None:
    """Serve the exported model over the OpenAI protocol, in this process.

    EXPORT is a folder with a GGUF in it; without one, the export of the recipe is taken.

    \b
    Examples:
      metier serve -r demo
      metier serve -r demo --port 9000 --api-key-env METIER_KEY
      curl http://127.0.0.1:8080/v1/models
    """
    from metier.core.host import Host
    from metier.serve.run import serve as serve_export

    serve_export(
        _export_folder(recipe, workshop, changes, export),
        Host.here(),
        host,
        port,
        api_key_env=api_key_env,
        ready=lambda address, name: click.echo(f"'{name}' answers at {address}/v1 (Ctrl-C ends it)"),
    )


@click.command()
@click.argument("export", nargs=-1)
@recipe_options
@click.option("-m", "--message", help="Ask this one thing, print the answer and leave.")
@click.option("-s", "--system", help="System message.")
def chat(
    export: tuple[str, ...],
    recipe: Path,
    workshop: Path | None,
    changes: tuple[str, ...],
    message: str | None,
    system: str | None,
) -> None:
    """Talk to the exported model in the terminal.

    \b
    Examples:
      metier chat -r demo
      metier chat -r demo -m "What does PRAGMA foreign_keys do?"
    """
    from metier.core.chat import Message
    from metier.core.host import Host
    from metier.serve.llama import LlamaChat

    with LlamaChat(_export_folder(recipe, workshop, changes, export), Host.here()) as model:
        said = [Message("system", system)] if system else []
        if message is not None:
            _answer(model, [*said, Message("user", message)])
            return
        click.echo(f"ask '{model.name}'; an empty line or Ctrl-D ends it")
        while asked := _asked():
            said.append(Message("user", asked))
            said.append(Message("assistant", _answer(model, said)))


def _asked() -> str | None:
    try:
        return input("> ").strip()
    except EOFError:
        return None


def _answer(model: LlamaChat, said: list[Message]) -> str:
    from metier.core.chat import Decoding

    pieces = []
    for piece in model.stream(said, Decoding(max_tokens=512)):
        pieces.append(piece)
        click.echo(piece, nl=False)
    click.echo()
    return "".join(pieces)
