"""A page to look at a corpus before it is trained on."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import Documents, Report
from metier.corpus.saved import origin

_HOLDS_SECRETS = "anonymise"


class Look(Step[Report]):
    """Show a corpus on one page: what each step left out and changed, and what is in the end.

    The page needs no network and holds samples of the documents: guard it as you guard them.
    """

    name: ClassVar[str] = "look"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    steps: tuple[Step[Documents], ...] = Field(description="The documents, in the order in which they were made.")
    title: str = Field("The corpus", description="What the page is called.")
    samples: int = Field(3, ge=0, le=50, description="Documents shown for each reason, and for each step's changes.")
    sample_chars: int = Field(400, ge=50, description="Characters shown of a document that was left out.")

    def run(self, work: Work) -> None:
        """Read the last documents once, take samples of every step, and write the page and its figures."""
        from metier.corpus.look.page import page, stage
        from metier.corpus.look.samples import changed, left_out
        from metier.corpus.look.survey import survey

        if not self.steps:
            raise Mistake("there is nothing to look at", hint="steps: [$pages, $clean, $unique]")
        made = [work.made(step) for step in self.steps]
        total = made[-1].record.ledger.made("document")
        with work.progress("looking at documents", total, "documents") as bar:
            found = survey(made[-1], bar.advance)
        stages = [stage(_name(made[0]), made[0], left={}, changed=[], hidden=None)]
        for before, after in pairwise(made):
            secret = origin(after).step == _HOLDS_SECRETS
            stages.append(
                stage(
                    _name(after),
                    after,
                    left=left_out(before, after, self.samples, self.sample_chars)
                    if self.samples and not secret
                    else {},
                    changed=changed(before, after, self.samples) if self.samples and not secret else [],
                    hidden="What stood there before is not shown: it was personal data." if secret else None,
                )
            )
        write_text_atomic(work.folder / "report.html", page(self.title, stages, found))
        told = {
            "documents": found.documents,
            "characters": found.characters,
            "median_characters": found.median,
            "exact_copies": found.copies,
            "by": {
                name: {value: share._asdict() for value, share in shares.items()} for name, shares in found.by.items()
            },
            "steps": [{"name": s.name, "came": s.came, "kept": s.kept, "dropped": dict(s.dropped)} for s in stages],
        }
        write_json_atomic(work.folder / "report.json", told)
        work.count("document", found.documents, found.documents, made={})
        work.figure("exact_copies", found.copies)
        if found.copies:
            work.warn(f"{found.copies:,} documents are exact copies of others: the step `dedup` leaves them out")


def _name(artifact: Documents) -> str:
    record = origin(artifact)
    return record.called or record.step
