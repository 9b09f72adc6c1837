"""Leave out what is no prose worth learning, each document with the reason."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from metier.core import Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.engine import apply, objected
from metier.corpus.rules.c4 import C4
from metier.corpus.rules.fineweb import FineWeb
from metier.corpus.rules.gopher import GopherQuality, GopherRepetition
from metier.corpus.rules.house import House
from metier.corpus.rules.languages import Languages
from metier.corpus.rules.noise import Noise
from metier.corpus.rules.rule_set import Rules, RuleSet, first_reasons
from metier.corpus.rules.seen import Needs, Seen
from metier.corpus.rules.spelling import Spelling

if TYPE_CHECKING:
    import pyarrow as pa

Name = Literal["house", "gopher-quality", "gopher-repetition", "c4", "fineweb", "noise", "spelling", "language"]
_WORDS = ".scratch-words"  # the workshop removes `.scratch*` when the artifact is finished


def _of_house(name: str) -> Any:
    """Return a field of the house rules, to stand in the step as well: their thresholds are the step's own."""
    return copy(House.model_fields[name])


class Filter(Step[Documents]):
    """Leave out documents that rules object to: those of the house, or the published ones of Gopher, C4 and FineWeb.

    The house rules, which are the default, leave out indexes, change logs, symbol tables, licences, damaged text and
    what is too short to teach anything. Their thresholds are fields of the step: shares of a document's characters
    unless said otherwise; null switches a rule off. The other sets have their thresholds in a field of their name, as
    in `gopher_quality: {min_words: 20}`. A document goes for its first reason; `dropped/` lists all of them.
    """

    name: ClassVar[str] = "filter"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents, normalised.")
    rules: tuple[Name, ...] = Field(
        ("house",),
        min_length=1,
        description="The sets of rules, in their order: house, gopher-quality, gopher-repetition, c4, fineweb, noise, "
        "spelling, language.",
    )
    min_prose_chars: int | None = _of_house("min_prose_chars")
    max_fragment_share: float | None = _of_house("max_fragment_share")
    max_table_share: float | None = _of_house("max_table_share")
    max_code_share: float | None = _of_house("max_code_share")
    max_log_entry_share: float | None = _of_house("max_log_entry_share")
    min_legal_terms: float | None = _of_house("min_legal_terms")
    max_damage_share: float | None = _of_house("max_damage_share")
    max_odd_share: float = _of_house("max_odd_share")
    gopher_quality: GopherQuality = Field(GopherQuality(), description="Thresholds of gopher-quality.")
    gopher_repetition: GopherRepetition = Field(GopherRepetition(), description="Thresholds of gopher-repetition.")
    c4: C4 = Field(C4(), description="Thresholds of c4.")
    fineweb: FineWeb = Field(FineWeb(), description="Thresholds of fineweb.")
    noise: Noise = Field(Noise(), description="Thresholds of noise.")
    spelling: Spelling = Field(Spelling(), description="Thresholds of spelling.")
    language: Languages = Field(Languages(), description="The languages that `language` lets pass.")

    @model_validator(mode="after")
    def _languages_are_named(self) -> Filter:
        if "language" in self.rules and not self.language.wanted:
            raise ValueError("the rules `language` need the languages that are wanted: `language: {wanted: [en]}`")
        return self

    def run(self, work: Work) -> None:
        """Write the documents that no rule objects to."""
        documents = work.made(self.corpus)
        sets = [self._learned(work, documents) if isinstance(each, Spelling) else each for each in self.sets()]
        totals = apply(work, documents, Judge(tuple(sets)), "filtering")
        if totals.kept == 0:
            raise Mistake(
                "the filter leaves no document",
                found="; ".join(f"{count} documents: {reason}" for reason, count in totals.dropped.most_common(4)),
                hint="set the threshold of that rule to null, or look at the texts with `metier show`",
            )
        made = {"document": totals.kept}
        work.count("document", totals.came, totals.kept, totals.dropped, source="corpus", made=made)

    def _learned(self, work: Work, documents: Documents) -> Rules:
        with work.progress("learning words", unit="documents") as bar:
            return self.spelling.learned(documents.shards, work.folder.absolute() / _WORDS, bar.advance)

    def sets(self) -> list[RuleSet]:
        """Return the sets of rules that are on, in their order, with their thresholds."""
        house = House(**{name: getattr(self, name) for name in House.model_fields})
        others = (self.gopher_quality, self.gopher_repetition, self.c4, self.fineweb, self.noise, self.spelling)
        known: dict[str, RuleSet] = {rules.rule: rules for rules in (house, *others, self.language)}
        return [known[name] for name in dict.fromkeys(self.rules)]


@dataclass(frozen=True)
class Judge:
    """The operator of the step: objects to each document for the first reason that a set of rules has."""

    rules: tuple[Rules, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the reasons; no document changes."""
        needs = Needs()
        for rules in self.rules:
            needs = rules.needs(needs)
        return objected(batch, first_reasons(self.rules, Seen(batch, needs)))
