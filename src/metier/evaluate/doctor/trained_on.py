"""What the training data itself says: text repeated again and again, answers without an end, exam questions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Artifact
from metier.core.chat import Message
from metier.core.errors import Mistake
from metier.core.types import TRAIN, Conversations, Documents, Preferences
from metier.evaluate.leak_check import Sought, sought
from metier.evaluate.leaks import Found, Leak, Text, find_leaks
from metier.evaluate.material import Material

KINDS = (Documents, Conversations, Preferences)


def texts(artifact: Artifact) -> Iterator[str]:
    """Yield every text of an artifact that is trained on: its train split, or all of what was never split."""
    if isinstance(artifact, Documents):
        yield from (document.text for document in artifact.rows() if document.split in (TRAIN, None))
    else:
        yield from ("\n".join(message.content for message in messages) for messages in conversations(artifact))


def conversations(artifact: Artifact) -> Iterator[list[Message]]:
    """Yield the conversations that are trained on; of a preference pair that with the chosen answer."""
    if isinstance(artifact, Conversations):
        yield from (row.messages for row in artifact.rows(TRAIN))
    elif isinstance(artifact, Preferences):
        yield from ([*row.prompt, Message("assistant", row.chosen)] for row in artifact.rows())


def learnt(artifact: Artifact) -> Iterator[str]:
    """Yield what the loss is taken on: documents whole, of conversations the answers."""
    if isinstance(artifact, Documents):
        yield from texts(artifact)
    else:
        for messages in conversations(artifact):
            yield from (message.content for message in messages if message.role == "assistant")


class Repeats(NamedTuple):
    """How much of a text stands there too often.

    share: of its characters, those in a fifth or later copy of a line. within: of these, the share whose earlier copies
    stand in the same text. worst: the lines copied most, with their number of copies.
    """

    share: float
    within: float
    worst: list[tuple[int, str]]


FEW = 4
"""Copies that do no harm: text read four times teaches nearly as much as new text (Muennighoff et al. 2023)."""

_LINE = re.compile(r"[^\n.!?。！？]+[\n.!?。！？]*")
_LEAST = 30  # characters: shorter lines are formulas and list marks; an ideograph counts twice
_MOST_KEPT = 1_000_000  # lines remembered at once


def repeats(read: Iterable[str]) -> Repeats:
    """Count lines and sentences that stand in the texts more than four times, up to case and spaces.

    Memory is bounded: beyond a million different lines only those are counted whose hash falls into a half, a quarter
    and so on. All copies of a line have one hash, so the share stays an estimate of the whole.
    """
    seen: dict[int, _Line] = {}
    shown: dict[int, str] = {}
    every = 1
    for number, text in enumerate(read):
        for line in _lines(text):
            key = int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "big")
            if key % every:
                continue
            one = seen.setdefault(key, _Line(len(line), number))
            one.here = one.here + 1 if one.text == number else 1
            one.copies, one.text = one.copies + 1, number
            if one.copies > FEW:
                one.within += one.here > 1
                shown.setdefault(key, line)
        while len(seen) > _MOST_KEPT:
            every *= 2
            seen = {key: one for key, one in seen.items() if not key % every}
    total = sum(one.copies * one.length for one in seen.values())
    again = sum(max(0, one.copies - FEW) * one.length for one in seen.values())
    within = sum(one.within * one.length for one in seen.values())
    worst = sorted(((seen[key].copies, line) for key, line in shown.items() if key in seen), reverse=True)[:3]
    return Repeats(again / total if total else 0.0, within / again if again else 0.0, worst)


@dataclass(slots=True)
class _Line:
    """A line's length, the text that held it last, its copies there and in all, and late ones with another beside."""

    length: int
    text: int
    here: int = 0
    copies: int = 0
    within: int = 0


def _lines(text: str) -> Iterator[str]:
    for found in _LINE.findall(text):
        line = " ".join(found.lower().split())
        if len(line) + sum(map(_ideograph, line)) >= _LEAST:
            yield line


def _ideograph(letter: str) -> bool:
    return "㐀" <= letter <= "鿿"


class Ends(NamedTuple):
    """Whether trained answers end with a token that ends an answer when the model is served.

    rows: how many were looked at. wrong: (what was trained on, why) of those that do not.
    """

    rows: int
    wrong: list[tuple[str, str]]


def ends(tokenizer: Any, folder: Path, rows: Iterable[Sequence[Message]]) -> Ends:
    """Render trained conversations with the model's own template and look at the last token of each answer.

    The token must be among those at which the folder tells a server to stop (`eos_token_id` of generation_config.json
    or config.json): a server that is not told of it would write on.
    """
    from metier.core.template import Template

    stops = stop_tokens(folder)
    wrong, count = [], 0
    for messages in rows:
        count += 1
        shown = messages[-1].content[-120:]
        try:
            ids, mask, _ = Template(tokenizer).render(messages)
        except Mistake as mistake:
            wrong.append((shown, mistake.what))
            continue
        trained = [token for token, kept in zip(ids, mask, strict=True) if kept]
        if not trained:
            wrong.append((shown, "no token of it is trained"))
        elif trained[-1] not in stops:
            last = tokenizer.convert_ids_to_tokens(trained[-1])
            named = ", ".join(map(str, tokenizer.convert_ids_to_tokens(sorted(stops)))) or "no token"
            wrong.append((shown, f"ends with {last}, and the model's folder stops at {named}"))
    return Ends(count, wrong)


def stop_tokens(folder: Path) -> frozenset[int]:
    """Return the tokens at which a model folder tells servers to stop."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        named = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
        if named is not None:
            return frozenset(named if isinstance(named, list) else [named])
    return frozenset()


class Leaked(NamedTuple):
    """Items of the exam found in one source of the training data."""

    source: int
    items: list[Leak]


def asked(material: Material, generated: Collection[str]) -> dict[str, Sought]:
    """Return the texts of an exam that must not be trained on, with their answers, by a name for people.

    Args:
        generated: the ids of tasks that a step made; like passages of one manual they are looked for word for word.
    """
    found = {f"passage {passage.id}": Sought([passage.text], False) for passage in material.passages}
    items = {item.id for item in material.items}
    for id, part in sought(material, generated).items():
        found[f"{'question' if id in items else 'task'} {id}"] = part
    return found


def leaked(exam: Mapping[str, Sought], sources: Sequence[Artifact]) -> list[Leaked]:
    """Return for each source of the training data the exam's items that stand in it."""
    return [
        Leaked(number, list(_leaks(exam, source, f"training data {number + 1}").leaks.values()))
        for number, source in enumerate(sources)
    ]


def _leaks(exam: Mapping[str, Sought], source: Artifact, where: str) -> Found:
    def training() -> Iterator[Text]:
        return (Text(where, text) for text in texts(source))

    return find_leaks({id: part.texts for id, part in exam.items()}, training, lambda id: exam[id].reworded)
