"""What a set of rules is: thresholds, and the reasons that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from metier.core.types import Document
from metier.corpus.rules.seen import Needs, Seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Objection(NamedTuple):
    """A reason, and for which documents of a batch it holds."""

    reason: str
    holds: NDArray[np.bool_]


class Rules(Protocol):
    """Anything that objects to documents: a pure function of them and of its settings."""

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` with what these rules want to have counted."""
        ...

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections in the order in which they are told: a document is left out for its first."""
        ...


class RuleSet(BaseModel):
    """Thresholds as fields; null switches a rule off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: ClassVar[str]
    """The name of the set in recipes."""

    def needs(self, needs: Needs) -> Needs:
        """Return `needs` with what these rules want to have counted."""
        return needs

    def objections(self, seen: Seen) -> Iterator[Objection]:
        """Yield the objections in the order in which they are told: a document is left out for its first."""
        raise NotImplementedError

    def reason(self, document: Document) -> str | None:
        """Return the first reason to leave one document out, or None to keep it."""
        return first_reasons([self], one(document, self.needs(Needs())))[0]


def one(document: Document, needs: Needs) -> Seen:
    """Return one document as a batch that rules can see."""
    import pyarrow as pa

    row = {name: None if value is None else str(value) for name, value in document._asdict().items()}
    row["text"] = document.text.encode("utf-8", "replace").decode()
    return Seen(pa.RecordBatch.from_pylist([row], pa.schema([(name, pa.string()) for name in row])), needs)


def first_reasons(rules: Iterator[Rules] | list[Rules] | tuple[Rules, ...], seen: Seen) -> list[str | None]:
    """Return for each document the first objection of the first set that has one, or None."""
    import numpy as np

    told: list[str | None] = [None]
    found = np.zeros(len(seen), np.int64)
    for objection in (objection for each in rules for objection in each.objections(seen)):
        told.append(objection.reason)
        found[(found == 0) & objection.holds] = len(told) - 1
    return [told[at] for at in found.tolist()]
