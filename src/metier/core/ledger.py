"""The ledger: at every hand-over, units in = units kept + units dropped, each with a reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from metier.core.errors import Failure


class Line(BaseModel):
    """One hand-over: `came` units arrived from `source`, `kept` went on, the rest was `dropped` for stated reasons.

    `made` says what leaves: 300 documents kept may make 210,000 tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    came: int
    kept: int
    dropped: dict[str, int] = Field(default_factory=dict)
    source: str | None = None
    made: dict[str, int] = Field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raise Failure unless the line adds up."""
        lost = sum(self.dropped.values())
        if self.came != self.kept + lost or min(self.came, self.kept, *self.dropped.values(), 0) < 0:
            raise Failure(
                f"the ledger of '{where}' does not add up for {self.unit}s",
                found=f"{self.came} came, {self.kept} kept, {lost} dropped {self.dropped}",
                hint="this is a fault of the step, not of your data: please report it",
            )


class Ledger(BaseModel):
    """All hand-overs of one step, in the order in which they happened."""

    lines: list[Line] = Field(default_factory=list)

    def made(self, unit: str) -> int | None:
        """Return how many of `unit` left the step, or None if its ledger does not speak of them."""
        counts = [line.made[unit] for line in self.lines if unit in line.made]
        return sum(counts) if counts else None

    def add(self, line: Line, where: str, inputs: dict[str, list[Ledger]]) -> None:
        """Check `line`, by itself and against the ledger of the artifacts it came from, and keep it.

        Args:
            inputs: the ledgers of the held artifacts, by field name.

        Raises:
            Failure: the line does not add up, or what came is not what the input says it made.
        """
        line.check(where)
        if line.source is not None:
            counts = [ledger.made(line.unit) for ledger in inputs.get(line.source, [])]
            sent = sum(count for count in counts if count is not None)
            if not counts or None in counts or sent != line.came:
                raise Failure(
                    f"{line.unit}s were lost between '{line.source}' and '{where}'",
                    found=f"'{line.source}' made {counts}, '{where}' received {line.came}",
                    hint="this is a fault of a step, not of your data: please report it",
                )
        self.lines.append(line)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the lines as plain JSON values."""
        return [line.model_dump() for line in self.lines]
