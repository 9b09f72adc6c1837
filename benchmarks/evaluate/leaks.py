"""How many planted leaks the leak finder finds, how many it imagines, and how fast it reads.

`python -m benchmarks.evaluate.leaks` reports on documents and rewriters that its bounds were not chosen on;
`python -m benchmarks.evaluate.leaks tuning` shows those that they were, and writes nothing.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from benchmarks.evaluate.leak_set import LeakSet, leak_set
from benchmarks.record import Row, save
from metier.evaluate.leaks import Found, find_leaks

EACH, CLEAN = {"en": 100, "zh": 25}, {"en": 600, "zh": 400}
_LANGUAGES = {"en": "English", "zh": "Chinese"}


def measured(family: str, language: str) -> list[Row]:
    """Return the rows of one set."""
    made = leak_set(family, language, EACH[language], CLEAN[language])
    start = time.process_time()
    found = find_leaks({id: [planted.text] for id, planted in made.exam.items()}, lambda: made.training)
    seconds = time.process_time() - start
    asked = Counter(planted.kind for planted in made.exam.values())
    hits = Counter(planted.kind for id, planted in made.exam.items() if id in found.leaks)
    reworded = [kind for kind in asked if kind not in ("verbatim", None)]
    megabytes = sum(len(text.text.encode()) for text in made.training) / 1e6
    told = f"{len(made.exam):,} sentences of {_LANGUAGES[language]} manuals, {megabytes:.0f} MB of others, {family}"
    many, found_of_them = (sum(counts[kind] for kind in reworded) for counts in (asked, hits))
    shares = ", ".join(f"{kind} {hits[kind] / asked[kind]:.2f}" for kind in reworded)
    near = f"{made.near_copies} sentences that the texts hold in nearly the same words anyway are not among the clean"
    _show(made, found)

    def row(name: str, value: float, unit: str, bar: str | None, note: str) -> Row:
        return Row(f"{name}, {_LANGUAGES[language]}", None, round(value, 4), None, None, unit, told, seconds, bar, note)

    return [
        row("leaks found, verbatim", hits["verbatim"] / asked["verbatim"], "share", "1", f"of {asked['verbatim']}"),
        row(
            "leaks found, reworded",
            found_of_them / many,
            "share",
            "≥ 0.9",
            f"of {many}: {shares}",
        ),
        row("leaks imagined", hits[None] / max(1, asked[None]), "share", "≤ 0.01", f"of {asked[None]}; {near}"),
        row("leak finder, both readings", megabytes / seconds, "MB/s of CPU time", None, "one process"),
    ]


def _show(made: LeakSet, found: Found) -> None:
    """Print what was imagined, for a person to judge, and some of what was missed."""
    for id, leak in found.leaks.items():
        if made.exam[id].kind is None:
            print(f"imagined {leak.share:.2f}: {leak.exam}\n      as: {leak.evidence[:200]}")
    missed = [planted for id, planted in made.exam.items() if planted.kind and id not in found.leaks]
    for planted in missed[:10]:
        print(f"missed, {planted.kind}: {planted.text}\n      as: {planted.hidden}")


if __name__ == "__main__":
    family = sys.argv[1] if sys.argv[1:] else "reported"
    rows = [row for language in sys.argv[2:] or ("en", "zh") for row in measured(family, language)]
    if family == "reported":
        save("evaluate", rows)
    else:
        print(*rows, sep="\n")
