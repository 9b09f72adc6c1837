"""The command that says which way to adapt a model: advise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metier.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metier.train.advise import Advice, Target
    from metier.train.evidence import Evidence
    from metier.train.plan import Machine


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", metavar="FOLDER|SIZE", help="The model to adapt: its folder, or a size such as 7B.")
@click.option("--host", metavar="WORD", help="Another machine than this one, such as 8xA100-80G or cpu:2x24G.")
@click.option(
    "--shift",
    type=click.Choice(["weak", "strong"]),
    default="weak",
    show_default=True,
    help="strong: the documents are in a language or style that the model hardly knows.",
)
@click.option("--changing", is_flag=True, help="The facts change faster than a model can be trained.")
@click.option("--general", type=click.Path(path_type=Path), help="General text for replay, for the recipe (.jsonl).")
@click.option("--write", type=click.Path(path_type=Path), help="Write a recipe to begin with.")
@json_option
def advise(
    paths: tuple[Path, ...],
    model: str | None,
    host: str | None,
    shift: str,
    changing: bool,
    general: Path | None,
    write: Path | None,
    as_json: bool,
) -> None:
    """Say whether to prompt, retrieve, train on documents, fine-tune or align, and how; each with reason and source.

    PATHS hold what there is to learn from: folders of documents, artifacts of a workshop, or .jsonl files of documents,
    conversations or preference pairs.

    \b
    Examples:
      metier advise handbook/ answers.jsonl --model 7B --host 2xA100-80G
      metier advise runs/split-3f… --model /models/qwen-7b --general wiki.jsonl --write law/metier.yaml
    """
    from metier.core.errors import Mistake
    from metier.train.advise import Wishes
    from metier.train.advise import advise as advice_for
    from metier.train.evidence import evidence

    if not paths:
        raise Mistake("nothing was given to learn from", hint="metier advise handbook/ --model 7B")
    found = [evidence(path) for path in paths]
    target, machine = _target(model), _machine(host)
    wishes = Wishes("strong" if shift == "strong" else "weak", changing, machine.memory * machine.all_devices)
    advice = advice_for(_data(found), target, wishes)
    if write is not None:
        _write(write, advice, found, model, general)
    if as_json:
        click.echo(json.dumps(_as_json(advice, found, target, machine), indent=2, ensure_ascii=False))
    else:
        _print(advice, found, target, machine)
        if write is not None:
            click.echo(f"\nwritten: {write}\nnext: metier plan -r {write}")


def _data(found: Sequence[Evidence]):  # type: ignore[no-untyped-def]  # the type is imported where it is used
    from metier.train.advise import Data
    from metier.train.evidence import BYTES_PER_TOKEN

    def rows(kind: str) -> int:
        return sum(one.rows for one in found if one.kind == kind)

    tokens = sum(one.text_bytes for one in found if one.kind == "documents") // BYTES_PER_TOKEN
    return Data(rows("documents"), tokens, rows("conversations"), rows("preferences"))


def _target(model: str | None) -> Target:
    from metier.core.errors import Mistake
    from metier.train.advise import Target
    from metier.train.plan import find_shape

    if model is None:
        return Target("the model")
    shape = find_shape(model)
    folder = Path(model)
    if not folder.is_dir():
        return Target(shape.name, shape.parameters)
    config = folder / "tokenizer_config.json"
    try:
        told = json.loads(config.read_text()) if config.is_file() else {}
    except ValueError as error:
        raise Mistake(f"{config} is not JSON", found=str(error), hint="copy the model folder again") from error
    chat = (folder / "chat_template.jinja").is_file() or (isinstance(told, dict) and bool(told.get("chat_template")))
    return Target(folder.name, shape.parameters, chat)


def _machine(host: str | None) -> Machine:
    from metier.core.host import Host
    from metier.train.plan import machine_of

    return machine_of(host if host is not None else Host.here())


def _write(write: Path, advice: Advice, found: Sequence[Evidence], model: str | None, general: Path | None) -> None:
    from metier.core.errors import Mistake
    from metier.core.files import write_text_atomic
    from metier.train.advise_recipe import recipe

    if model is None or not Path(model).is_dir():
        raise Mistake("a recipe needs the model's folder", found=model or "no --model", hint="--model /models/my-model")
    if general is not None and not general.is_file():
        raise Mistake(f"{general} does not exist", hint='give a .jsonl with a "text" a line')
    if write.exists():
        raise Mistake(f"{write} exists", hint="give another name; nothing is written over")
    text = recipe(advice, found, Path(model), general)
    try:
        write_text_atomic(write, text)
    except OSError as error:
        raise Mistake(f"{write} cannot be written", found=str(error), hint="give another name") from error


def _as_json(advice: Advice, found: Sequence[Evidence], target: Target, machine: Machine) -> dict[str, object]:
    return {
        "ways": advice.ways,
        "start_from": advice.start,
        "replay_share": advice.replay_share,
        "chat_vector": advice.chat_vector,
        "trainings": {name: one._asdict() for name, one in advice.trainings.items()},
        "lines": [line._asdict() for line in advice.lines],
        "unknown": advice.unknown,
        "found": [{**one._asdict(), "path": str(one.path)} for one in found],
        "model": target._asdict(),
        "host": machine.label,
    }


def _print(advice: Advice, found: Sequence[Evidence], target: Target, machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for one in found:
        size = f", about {one.text_bytes / 1e6:,.1f} MB of text" if one.kind == "documents" else ""
        note = " (a guess from the files' kinds)" if one.guessed else ""
        console.print(f"{one.path}: {one.rows:,} {one.kind}{size}{note}", highlight=False, markup=False)
    size = f"{target.parameters / 1e9:.2g}B parameters" if target.parameters else "size not known"
    console.print(f"{target.name}: {size}; on {machine.label}\n", highlight=False, markup=False)
    table = Table("about", "advice", "why, and who found it", box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for line in advice.lines:
        table.add_row(line.about, line.advice, f"{line.reason} ({line.source})")
    console.print(f"way: {' + '.join(advice.ways)}\n", highlight=False)
    console.print(table)
    console.print("\nnot known:", highlight=False)
    for text in advice.unknown:
        console.print(f"- {text}", highlight=False, markup=False)
