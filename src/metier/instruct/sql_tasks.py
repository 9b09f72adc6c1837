"""The step that makes conversations about SQL, each answer executed on three databases by Python's own sqlite3."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from metier.core import Estimate, Mistake, Step, Work
from metier.core.types import Conversations

if TYPE_CHECKING:
    from metier.core.host import Host
    from metier.instruct.sql.desk import Tally

OLDEST_SQLITE = (3, 38, 0)  # STRICT tables came with 3.37, JSON without a build option with 3.38
SECONDS_A_SCHEMA = 0.03  # measured: 13 s for 600 schemas of nine tasks on one core


class SqlTasks(Step[Conversations]):
    """Make task→SQL and broken→repaired SQL conversations from a generator; every answer was executed.

    Splits: "train"; "seen_wording" (schemas never trained on), "new_wording" (wording never trained on either),
    "new_kind" (kinds of question never trained on) and "repair". The rows of one schema share their system message
    and follow each other. The same fields give the same bytes with the same SQLite, whose messages some repairs quote.
    """

    name: ClassVar[str] = "sql-tasks"
    extras: ClassVar[tuple[str, ...]] = ()

    seed: int = Field(0, ge=0, description="Another seed draws other schemas, databases and questions.")
    train_schemas: int = Field(500, ge=1, description="Schemas in training, each with databases of its own.")
    tasks_per_schema: int = Field(9, ge=1, le=40, description="Conversations on each schema in training.")
    repair_share: float = Field(
        0.2, ge=0, le=1, description="Share of the training tasks that repair a broken statement."
    )
    held_out_schemas: int = Field(20, ge=2, description="Schemas of the exam, none of whose tables is trained on.")
    tasks_per_split: int = Field(120, ge=1, description="Tasks in each held-out split.")
    tuning: bool = Field(False, description="Add dev_* splits on further schemas, to choose settings without the exam.")

    def run(self, work: Work) -> None:
        """Write the conversations."""
        from metier.instruct.sql.tasks import Sizes, generate

        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise Mistake(
                "this Python's SQLite is too old for the tasks",
                found=sqlite3.sqlite_version,
                hint=f"use a Python with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer",
            )
        sizes = Sizes(
            self.train_schemas, self.tasks_per_schema, self.repair_share, self.held_out_schemas, self.tasks_per_split
        )
        tallies: dict[str, Tally] = {}
        with work.progress("executing tasks", self._schemas(), "schemas") as bar:
            rows = generate(self.seed, sizes, tuning=self.tuning, tallies=tallies, advance=bar.advance)
            Conversations.write(work.folder, rows)
        for tally in tallies.values():
            work.count("candidate task", tally.drawn, tally.kept, tally.dropped, made={"conversation": tally.kept})
        work.figure("splits", {split: tally.kept for split, tally in tallies.items()})
        work.figure("sqlite", sqlite3.sqlite_version)
        for split, tally in tallies.items():
            if split != "train" and tally.kept < self.tasks_per_split:
                work.warn(
                    f"split '{split}' has {tally.kept} of {self.tasks_per_split} tasks: its schemas allow no more"
                )

    def estimate(self, host: Host) -> Estimate:
        """Return the time on one core."""
        return Estimate(seconds=SECONDS_A_SCHEMA * self._schemas(), memory_bytes=300 * 2**20)

    def _schemas(self) -> int:
        return self.train_schemas + self.held_out_schemas * (2 if self.tuning else 1)
