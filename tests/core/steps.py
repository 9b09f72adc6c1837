"""Small steps for the tests of the core. `python -m tests.core.steps FOLDER` makes the chain in a process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from metier.core import LocalPath, Step, Work, Workshop
from metier.core.artifact import Artifact


class Numbers(Artifact):
    """Lines of numbers in `numbers.txt`."""

    def rows(self) -> list[int]:
        return [int(line) for line in (self.folder / "numbers.txt").read_text().split()]


class Count(Step[Numbers]):
    """Count slowly from zero, going on from the lines that a killed attempt left."""

    name: ClassVar[str] = "test-count"
    upto: int = 20
    seconds_each: float = 0.0
    label: str | None = Field(None, description="changes the key and nothing else")

    def run(self, work: Work) -> None:
        path = work.folder / "numbers.txt"
        done = len(path.read_text().split()) if path.exists() else 0
        work.event("start", at=done)
        with path.open("a") as out, work.progress("counting", self.upto) as bar:
            bar.resume_at(done)
            for number in range(done, self.upto):
                time.sleep(self.seconds_each)
                out.write(f"{number}\n")
                out.flush()
                bar.advance()
        work.count("number", self.upto, self.upto, made={"number": self.upto})


class Even(Step[Numbers]):
    """Keep the even numbers."""

    name: ClassVar[str] = "test-even"
    numbers: Step[Numbers]
    lose: int = 0

    def run(self, work: Work) -> None:
        rows = work.made(self.numbers).rows()
        even = [row for row in rows if row % 2 == 0]
        (work.folder / "numbers.txt").write_text("\n".join(map(str, even)))
        work.count(
            "number",
            len(rows) - self.lose,
            len(even),
            {"odd": len(rows) - self.lose - len(even)},
            source="numbers",
            made={"number": len(even)},
        )


class FromFile(Step[Numbers]):
    """Copy the numbers of a file."""

    name: ClassVar[str] = "test-file"
    file: LocalPath

    def run(self, work: Work) -> None:
        (work.folder / "numbers.txt").write_text(Path(self.file).read_text())


class Many(Step[Numbers]):
    """Put several lists of numbers together."""

    name: ClassVar[str] = "test-many"
    parts: tuple[Step[Numbers], ...] = ()
    named: dict[str, Step[Numbers]] = Field(default_factory=dict)

    def run(self, work: Work) -> None:
        rows = [row for part in (*self.parts, *self.named.values()) for row in work.made(part).rows()]
        (work.folder / "numbers.txt").write_text("\n".join(map(str, rows)))
        work.figure("process", os.getpid())


def main() -> None:
    slow = Count(upto=40, seconds_each=0.02)
    print(Workshop(sys.argv[1]).make(Even(numbers=slow)).record.output_sha256)


if __name__ == "__main__":
    main()
