"""The quality scorer: how fast it scores, and how well it tells manuals from indices, change logs and licence pages.

Pages are called good or bad by their file names alone. The features were chosen on four packages (Python, PostgreSQL,
SQLite, git); the figures are from others (Django, Java, LilyPond, the C++ library, Linux, Boost, Rust): on pages of the
same packages as the examples, and, which is harder, with the examples from the first four.
"""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus

_TUNING = ("git-doc", "postgresql-doc-15", "python3.11-doc", "sqlite3-doc")
_BAD = {
    "git-doc": r"RelNotes/|changelog|contents|NEWS",
    "libstdc++-12-doc": r"/(functions[^/]*|globals[^/]*|namespacemembers[^/]*|annotated|classes|files|hierarchy|modules"
    r"|appendix_gfdl[^/]*|appendix_gpl[^/]*|license[^/]*|fdl|gpl)\.html$|changelog",
    "lilypond-doc-html": r"/([a-z-]*-index|gnu-free-documentation-license|changes[^/]*|[^/]*_toc)\.html$|/changes/",
    "openjdk-17-doc": r"/(class-use/|package-tree|package-use|index-files/|allclasses|overview-tree|legal/)",
    "postgresql-doc-15": r"/(release-[^/]*|release|bookindex|legalnotice|biblio|acronyms|index)\.html$",
    "python-django-doc": r"/(releases/[^/]*|genindex|py-modindex|contents|glossary)\.html$",
    "python3.11-doc": r"html/(genindex[^/]*|whatsnew/[^/]*|copyright|license|contents|py-modindex|about|bugs)\.html$",
    "rust-doc": r"/all\.html$|LICENSE|COPYRIGHT|releases",
    "sqlite3-doc": r"/(releaselog/[^/]*|changes|news|oldnews|chronology|copyright[^/]*|keyword_index|sitemap|doclist"
    r"|c3ref/(funclist|objlist|constlist)|syntaxdiagrams|hist)[^/]*\.html$",
}
_GOOD = {
    "git-doc": r"git-doc/(howto/|technical/)?[^/]*\.html$",
    "libboost1.81-doc": r"doc/html/[^/]*/.*\.html$",
    "libstdc++-12-doc": r"manual/[^/]*\.html$",
    "lilypond-doc-html": r"Documentation/(notation|learning|usage|contributor|extending|essay)/[^/]*\.html$",
    "postgresql-doc-15": r"html/[^/]*\.html$",
    "python-django-doc": r"html/(topics|ref|howto|intro|misc|faq|internals)/.*\.html$",
    "python3.11-doc": r"html/(tutorial|howto|library|reference|faq|using|extending|c-api)/[^/]*\.html$",
    "rust-doc": r"html/(book|nomicon|reference|rust-by-example|cargo|rustc|edition-guide|embedded-book)/.*\.html$",
    "sqlite3-doc": r"sqlite3/[^/]*\.html$|/c3ref/",
}
_MOST = 300  # pages of a package and class
_CHARACTERS = 20_000
_EXAMPLES = 200  # of either class
_MEGABYTES = 60
_SCRIPT = Path(__file__).parent / "peer_scripts" / "classify.py"


class Page(NamedTuple):
    """A page of a package, and whether its name calls it good."""

    package: str
    text: str
    good: bool


def pages() -> list[Page]:
    """Return pages of all packages, chosen and ordered at random with a fixed seed."""
    rng = random.Random(7)
    found = []
    for package in sorted(_GOOD):
        base = material.files() / package
        paths = sorted(path for path in base.rglob("*.html") if path.is_file() and not path.is_symlink())
        bad = [path for path in paths if package in _BAD and re.search(_BAD[package], path.as_posix())]
        known = set(bad)
        good = [path for path in paths if path not in known and re.search(_GOOD[package], path.as_posix())]
        for group, is_good in ((bad, False), (good, True)):
            rng.shuffle(group)
            for path in group[:_MOST]:
                text = _text(path)
                if len(text) >= 300:
                    found.append(Page(package, text[:_CHARACTERS], is_good))
    rng.shuffle(found)
    return found


def _text(path: Path) -> str:
    body = LexborHTMLParser(path.read_text("utf-8", "replace")).body
    text = body.text(separator=" ") if body is not None else ""
    return re.sub(r"\n\s*\n\s*", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()


def split(found: Sequence[Page]) -> dict[str, tuple[list[Page], list[Page]]]:
    """Return, by name of the trial, the examples to learn from and the pages to judge."""
    tuning = [page for page in found if page.package in _TUNING]
    reported = [page for page in found if page.package not in _TUNING]
    examples = [page for good in (True, False) for page in [p for p in reported if p.good == good][:_EXAMPLES]]
    chosen = {id(page) for page in examples}
    rest = [page for page in reported if id(page) not in chosen]
    elsewhere = [page for good in (True, False) for page in [p for p in tuning if p.good == good][:_EXAMPLES]]
    return {"pages of the same packages": (examples, rest), "pages of other packages": (elsewhere, reported)}


class Result(NamedTuple):
    """Balanced accuracy, the probability that a good page scores above a bad one, and times in seconds."""

    accuracy: float
    rank_share: float
    taught: float
    scored: float


def ours(examples: Sequence[Page], judged: Sequence[Page], speed: Sequence[str]) -> Result:
    """Teach with the step itself, judge the pages, and time the scoring of other texts."""
    import numpy as np
    import pyarrow as pa

    from metier.core import LocalPath, Workshop
    from metier.corpus.kernel import texts
    from metier.corpus.quality import Classifier, TeachQuality
    from metier.corpus.quality.measure import balanced, rank_share

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, wanted in (("good", True), ("bad", False)):
            rows = [json.dumps({"text": page.text}) for page in examples if page.good == wanted]
            (folder / f"{label}.jsonl").write_text("\n".join(rows))
        step = TeachQuality(good=LocalPath(folder / "good.jsonl"), bad=LocalPath(folder / "bad.jsonl"))
        start = time.process_time()
        model = Classifier(Workshop(folder / "runs").make(step).folder).model()
        taught = time.process_time() - start
        told = model.probabilities(texts([page.text for page in judged]))
        column = texts(pa.array(speed))
        scored = float("inf")
        for _ in range(5):
            start = time.process_time()
            model.probabilities(column)
            scored = min(scored, time.process_time() - start)
    good = np.array([page.good for page in judged])
    return Result(balanced((told >= 0.5) == good, good), rank_share(told, good), taught, scored)


def theirs(
    library: str, examples: Sequence[Page], judged: Sequence[Page], speed: Sequence[str]
) -> Result | NotInstalled:
    """Have a peer learn from the same examples, judge the same pages and score the same texts."""
    import numpy as np

    from metier.corpus.quality.measure import balanced, rank_share

    python = peer(library)
    if isinstance(python, NotInstalled):
        return python
    folder = material.FOLDER / "quality"
    folder.mkdir(exist_ok=True)
    given = {
        "examples": [[page.text, page.good] for page in examples],
        "judged": [page.text for page in judged],
        "speed": list(speed),
    }
    (folder / "given.json").write_text(json.dumps(given))
    found = ask(python, _SCRIPT, library, folder / "given.json", cores=(1,))
    good, told = np.array([page.good for page in judged]), np.array(found["probabilities"])
    return Result(balanced((told >= 0.5) == good, good), rank_share(told, good), found["taught"], found["scored"])


def main() -> None:
    """Measure accuracy in both trials, and speed in the first."""
    speed = material.texts(_MEGABYTES, None)
    size = sum(len(text.encode()) for text in speed) / 1e6
    trials = split(pages())
    rows = []
    for name, (examples, judged) in trials.items():
        mine = ours(examples, judged, speed)
        input = f"{len(examples)} examples; {len(judged):,} {name}"
        print(f"{name}: {mine}", flush=True)
        for library in ("scikit-learn", "fasttext"):
            other = theirs(library, examples, judged, speed)
            label = f"quality accuracy, {name}"
            distribution = "fasttext-numpy2" if library == "fasttext" else library
            if isinstance(other, NotInstalled):
                rows.append(
                    Row(label, library, mine.accuracy, None, None, "balanced", input, mine.taught, note=other.reason)
                )
                continue
            print(f"  {library}: {other}", flush=True)
            note = f"good ranked above bad: {mine.rank_share:.3f}, {library} {other.rank_share:.3f}"
            told = version(library, distribution)
            accuracies = mine.accuracy, other.accuracy
            rows.append(
                versus(label, library, *accuracies, "balanced", input, mine.taught, note=note, peer_version=told)
            )
            if name == next(iter(trials)):
                rates = size / mine.scored, size / other.scored
                text = f"{len(speed):,} documents, {size:.0f} MB"
                rows.append(versus("quality scoring", library, *rates, "MB/s", text, mine.scored, peer_version=told))
    save("corpus", rows)


if __name__ == "__main__":
    main()
