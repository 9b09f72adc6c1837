"""The kinds of artifact that steps hand to each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from metier.core.artifact import Artifact
from metier.core.chat import Message
from metier.core.errors import Failure
from metier.core.tables import read_rows, write_rows

TRAIN = "train"
HELD_OUT = "held_out"


class Document(NamedTuple):
    """One document.

    `source` is the path or URL it came from and `part` the page, section, sheet or row of it, "" for the whole.
    `split` is None until documents are split, `channel` until they are mixed, `license` where nobody stated one.
    """

    id: str
    text: str
    source: str
    title: str = ""
    language: str | None = None
    media_type: str = "text/plain"
    digest: str = ""
    split: str | None = None
    part: str = ""
    license: str | None = None
    channel: str | None = None


class Documents(Artifact):
    """Documents, as Parquet in `documents/`."""

    columns: Mapping[str, str] = dict.fromkeys(Document._fields, "string")

    def rows(self, split: str | None = None) -> Iterator[Document]:
        """Yield the documents, all or those of one split, in their fixed order."""
        for row in read_rows(self.folder / "documents"):
            if split is None or row["split"] == split:
                yield Document(**row)

    @classmethod
    def write(cls, folder: Path, documents: Iterable[Document]) -> int:
        """Write documents into an artifact's folder and return how many."""
        rows = (document._asdict() for document in documents)
        return write_rows(folder / "documents", rows, cls.columns, weight=lambda row: len(row["text"]))

    @property
    def shards(self) -> list[Path]:
        """The Parquet files, in their order."""
        return sorted((self.folder / "documents").glob("part-*.parquet"))


class Conversation(NamedTuple):
    """Messages that end in an assistant's. `check` is what a Scorer needs to grade another answer, if one can.

    `weights` says of each message whether it is trained, 1 or 0, where not every answer is.
    """

    id: str
    messages: list[Message]
    task: str
    split: str = TRAIN
    source: str = ""
    cluster: str | None = None
    check: dict[str, Any] | None = None
    weights: list[int] | None = None


class Conversations(Artifact):
    """Conversations, as Parquet in `conversations/`."""

    columns: Mapping[str, str] = {
        **dict.fromkeys(Conversation._fields, "string"),
        "messages": "messages",
    }

    def rows(self, split: str | None = None) -> Iterator[Conversation]:
        """Yield the conversations, all or those of one split, in their fixed order."""
        for row in read_rows(self.folder / "conversations"):
            if split is None or row["split"] == split:
                row["messages"] = [Message(**message) for message in row["messages"]]
                row["check"] = json.loads(row["check"]) if row["check"] else None
                row["weights"] = json.loads(weights) if (weights := row.get("weights")) else None
                yield Conversation(**row)

    @classmethod
    def write(cls, folder: Path, conversations: Iterable[Conversation]) -> int:
        """Write conversations into an artifact's folder and return how many."""

        def plain(row: Conversation) -> dict[str, Any]:
            check = json.dumps(row.check, ensure_ascii=False) if row.check is not None else None
            weights = json.dumps(row.weights) if row.weights is not None else None
            messages = [message._asdict() for message in row.messages]
            return {**row._asdict(), "messages": messages, "check": check, "weights": weights}

        return write_rows(folder / "conversations", map(plain, conversations), cls.columns)


class Preference(NamedTuple):
    """One prompt with a better and a worse answer, their scores in 0..1, and why one is better."""

    id: str
    prompt: list[Message]
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float
    reason: str
    source: str = ""


class Preferences(Artifact):
    """Preference pairs, as Parquet in `preferences/`."""

    columns: Mapping[str, str] = {
        **dict.fromkeys(Preference._fields, "string"),
        "prompt": "messages",
        "chosen_score": "float",
        "rejected_score": "float",
    }

    def rows(self) -> Iterator[Preference]:
        """Yield the pairs in their fixed order."""
        for row in read_rows(self.folder / "preferences"):
            row["prompt"] = [Message(**message) for message in row["prompt"]]
            yield Preference(**row)

    @classmethod
    def write(cls, folder: Path, pairs: Iterable[Preference]) -> int:
        """Write pairs into an artifact's folder and return how many."""
        rows = ({**row._asdict(), "prompt": [m._asdict() for m in row.prompt]} for row in pairs)
        return write_rows(folder / "preferences", rows, cls.columns)


class Judgement(NamedTuple):
    """One prompt with one answer, and whether it was found good."""

    id: str
    prompt: list[Message]
    answer: str
    good: bool
    source: str = ""


class Judgements(Artifact):
    """Answers judged one by one, as Parquet in `judgements/`."""

    columns: Mapping[str, str] = {**dict.fromkeys(Judgement._fields, "string"), "prompt": "messages", "good": "bool"}

    def rows(self) -> Iterator[Judgement]:
        """Yield the judgements in their fixed order."""
        for row in read_rows(self.folder / "judgements"):
            row["prompt"] = [Message(**message) for message in row["prompt"]]
            yield Judgement(**row)

    @classmethod
    def write(cls, folder: Path, judgements: Iterable[Judgement]) -> int:
        """Write judgements into an artifact's folder and return how many."""
        rows = ({**row._asdict(), "prompt": [m._asdict() for m in row.prompt]} for row in judgements)
        return write_rows(folder / "judgements", rows, cls.columns)


class Model(Artifact):
    """A model with its tokenizer and chat template, as a Hugging Face folder."""

    @property
    def model_folder(self) -> Path:
        """The folder that `from_pretrained` takes."""
        return self.folder / "model"


@runtime_checkable
class Shaped(Protocol):
    """A step that makes a model and knows its shape beforehand, for `metier plan`."""

    def shape(self) -> dict[str, Any] | None:
        """Return what the model's config.json will say of its shape, or None where it cannot be looked up."""
        ...


class Exam(Artifact):
    """Everything needed to examine any model in the same way."""


class Score(NamedTuple):
    """One figure of one model with its 95% interval; `n` is how many items, or None where there is no interval."""

    name: str
    model: str
    split: str
    value: float
    low: float | None
    high: float | None
    n: int | None


class Scores(Artifact):
    """The figures of one model: `scores.json`, and what it answered: `answers.jsonl`."""

    def figures(self) -> list[Score]:
        """Return the figures. Raises Failure if they are not there."""
        path = self.folder / "scores.json"
        if not path.is_file():
            raise Failure(f"{self.folder.name} holds no scores.json", hint="remove the folder and run again")
        return [Score(**row) for row in json.loads(path.read_text())]


class Export(Artifact):
    """A model that may leave: `hf/`, `*.gguf`, `README.md` (model card), `Modelfile`, `parity.json`."""


class Report(Artifact):
    """What a person reads: `report.html`, and the same figures as `report.json`."""
