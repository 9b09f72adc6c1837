"""Reading HTML, Word, PowerPoint and PDF files beside markitdown and kreuzberg: seconds, and what survives.

`python -m benchmarks.corpus.reading [html docx pptx pdf step]` takes pages of Debian's documentation as they are; Word
files and slides are made from other such pages by pandoc, which knows neither reader. What a page holds is counted on
its HTML by code of this file: the text of each <pre>, the cells of each table of data. The sample reported (seed 2) is
apart from the one that was looked at while the readers were written (seed 1).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.corpus.material import FOLDER, package
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus

_PAGES = ("postgresql-doc-15", "python3.11-doc", "git-doc", "python-django-doc", "rust-doc", "openjdk-17-doc",
          "lilypond-doc-html", "sqlite3-doc")  # fmt: skip
_PDFS = ("maint-guide", "debian-faq", "gnuplot-doc", "sqlite3-doc")
_PANDOC = ("pandoc", "pandoc-data", "liblua5.3-0")
KINDS = ("html", "docx", "pptx", "pdf", "step")
_LOOKED_AT, _REPORTED = 1, 2  # seeds of the samples
_A_PACKAGE = {"html": 30, "docx": 8, "pptx": 5}
_ROUNDS = 3
_FEWEST = 10  # blocks or tables: fewer say nothing

# What each peer runs: files in, a text for each out, the least CPU time of some rounds on the last line.
_PEERS = {
    "kreuzberg": """
from kreuzberg import ExtractionConfig, extract_file_sync
config = ExtractionConfig(output_format="markdown", use_cache=False)
def convert(path): return extract_file_sync(path, config=config).content
""",
    "markitdown": """
from markitdown import MarkItDown
reader = MarkItDown(enable_plugins=False)
def convert(path): return reader.convert(path).markdown
""",
}
_RUN = """
import json, sys, time, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
source, target, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
from pathlib import Path
paths = sorted(path for path in Path(source).iterdir())
failed, best = 0, None
for number in range(rounds + 1):  # the first round loads what is loaded late
    start, failed = time.process_time(), 0
    for path in paths:
        try:
            text = convert(str(path))
        except Exception:
            text, failed = "", failed + 1
        if not number:
            Path(target, path.name + ".md").write_text(text, errors="replace")
    seconds = time.process_time() - start
    if number:
        best = seconds if best is None else min(best, seconds)
print(json.dumps({"seconds": best, "failed": failed}))
"""


class Truth(NamedTuple):
    """What a page holds: blocks of code, and tables as rows of cells."""

    code: list[str]
    tables: list[list[list[str]]]


class Kept(NamedTuple):
    """How much of that is in the texts, in per cent: code to the character, in a fence, and tables row by row."""

    code: float
    fenced: float
    tables: float
    all_code: int
    all_tables: int


def main(kinds: Sequence[str] = KINDS, seed: int = _REPORTED) -> list[Row]:
    """Measure some kinds of file, and return the rows; those of the reported sample are saved."""
    folder = FOLDER / f"reading-{seed}"
    sources = _material(folder, seed)
    rows: list[Row] = []
    for kind in kinds:
        measured = _whole_step(folder) if kind == "step" else _compare(folder, kind, sources)
        rows += measured
        if seed == _REPORTED:
            save("corpus", measured)
    return rows


def _compare(folder: Path, kind: str, sources: dict[str, Path]) -> list[Row]:
    files = sorted((folder / kind).iterdir())
    size = sum(path.stat().st_size for path in files) / 1e6
    told = f"{len(files)} {kind.upper()} files, {size:.1f} MB"
    seconds = _ours(folder, kind)
    kept = _fidelity(folder / "ours" / kind, kind, sources) if kind != "pdf" else None
    rows = []
    for name in _PEERS:
        python = peer(name)
        if isinstance(python, NotInstalled):
            rows.append(
                Row(f"read {kind}", name, size / seconds, None, None, "MB/s", told, seconds, note=python.reason)
            )
            continue
        known = version(name)
        try:
            answer = _theirs(python, name, folder, kind)
        except subprocess.SubprocessError as error:
            said = f"{type(error).__name__} {getattr(error, 'returncode', '')}"
            rows.append(Row(f"read {kind}", name, size / seconds, None, None, "MB/s", told, seconds, note=said))
            continue
        note = f"{answer['failed']} files failed" if answer["failed"] else None
        rows.append(
            versus(
                f"read {kind}",
                name,
                size / seconds,
                size / answer["seconds"],
                "MB/s",
                told,
                seconds,
                note=note,
                peer_version=known,
            )
        )
        if kept is not None:
            their = _fidelity(folder / name / kind, kind, sources)
            for what, ours, theirs, of in (
                ("blocks of code kept to the character", kept.code, their.code, kept.all_code),
                ("blocks of code kept in a fence", kept.fenced, their.fenced, kept.all_code),
                ("tables kept row by row", kept.tables, their.tables, kept.all_tables),
            ):
                if of >= _FEWEST:
                    ratio = round(ours / theirs, 3) if theirs else None
                    note = f"of {of} in the pages"
                    rows.append(
                        Row(
                            f"{kind}: {what}",
                            name,
                            round(ours, 1),
                            round(theirs, 1),
                            ratio,
                            "%",
                            told,
                            seconds,
                            note=note,
                            peer_version=known,
                        )
                    )
    return rows


def _ours(folder: Path, kind: str) -> float:
    """Write our texts and return the least CPU time of some rounds, in this process."""
    from metier.corpus.read.found import Content
    from metier.corpus.read.sources import Budget, Options, Source
    from metier.corpus.read.walk import Course, walk

    options = Options()

    def convert(path: Path) -> str:
        with path.open("rb") as stream:
            size = path.stat().st_size
            source = Source(path.name, stream, Budget(size, options), size)
            found = [item.found for item in walk(source, options, Course())]
        return "\n\n".join(one.text for one in found if isinstance(one, Content))

    target = folder / "ours" / kind
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = sorted((folder / kind).iterdir())
    for path in files:
        (target / f"{path.name}.md").write_text(convert(path))
    return min(_cpu_seconds(lambda: [convert(path) for path in files]) for _ in range(_ROUNDS))


def _theirs(python: Path, name: str, folder: Path, kind: str) -> dict[str, float]:
    target = folder / name / kind
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    script = folder / f"run_{name}.py"  # not the name of the package
    script.write_text(_PEERS[name] + _RUN)
    answer: dict[str, float] = ask(python, script, folder / kind, target, str(_ROUNDS), cores=(_core(),))
    return answer


def _whole_step(folder: Path) -> list[Row]:
    """Measure the whole step: its own processes, shards on disk, everything; CPU time of all of them."""
    from dataclasses import replace

    from metier.core import Host, LocalPath, Workshop
    from metier.corpus import Read

    size = sum(path.stat().st_size for path in (folder / "html").iterdir()) / 1e6
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    before, start = sum(os.times()[:4]), time.perf_counter()
    host = replace(Host.here(), threads=1)
    Workshop(runs, host).make(Read(folder=LocalPath(folder / "html")))
    seconds = sum(os.times()[:4]) - before
    told = f"{len(list((folder / 'html').iterdir()))} HTML files, {size:.1f} MB"
    note = f"start of the process and hashing of the input included; {time.perf_counter() - start:.1f} s on the clock"
    return [
        Row(
            "read step, one reading process",
            None,
            round(size / seconds, 2),
            None,
            None,
            "MB/s",
            told,
            seconds,
            note=note,
        )
    ]


def _fidelity(texts: Path, kind: str, sources: dict[str, Path]) -> Kept:
    code = fenced = tables = all_code = all_tables = 0
    for path in texts.iterdir():
        name = path.name.removesuffix(".md")
        truth = truth_of(sources[f"{kind}/{name}"].read_text(errors="replace"))
        text = path.read_text(errors="replace")
        lines = "\n".join(line.rstrip() for line in text.split("\n"))
        inside = "\n\0\n".join(_fences(lines))
        rows = {tuple(row) for row in _rows(text)}
        all_code += len(truth.code)
        code += sum(block in lines or block in inside for block in truth.code)
        fenced += sum(block in inside for block in truth.code)
        all_tables += len(truth.tables)
        tables += sum(_is_kept(table, rows) for table in truth.tables)
    return Kept(
        100 * code / max(all_code, 1),
        100 * fenced / max(all_code, 1),
        100 * tables / max(all_tables, 1),
        all_code,
        all_tables,
    )


def truth_of(html: str) -> Truth:
    """Return the code and the tables of a page. Tables that hold blocks, or whose rows differ in length, are
    layout, those of links are navigation."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    if body is None:
        return Truth([], [])
    blocks = ["\n".join(line.rstrip() for line in node.text(deep=True).split("\n")) for node in body.css("pre")]
    tables = []
    for node in body.css("table"):
        if "avigation" in (node.attributes.get("summary") or ""):
            continue
        if node.css_first("table table, pre, ul, ol, p + p, h1, h2, h3") is not None:
            continue
        if 2 * sum(len(link.text(deep=True)) for link in node.css("a")) > len(node.text(deep=True)):
            continue  # navigation
        rows = [[plain(cell.text(deep=True)) for cell in row.css("td, th")] for row in node.css("tr")]
        if len(rows) >= 2 and {len(row) for row in rows} in ({2}, {3}, {4}, {5}, {6}) and any(map(any, rows)):
            tables.append(rows)
    return Truth([block.strip("\n") for block in blocks if len(block.strip()) >= 20], tables)


def plain(text: str) -> str:
    """Return a cell's text without mark-up and white space, in which readers may differ."""
    return re.sub(r"[\s*_`\\¶]|<br>|\[\d+\]", "", text)


def _fences(text: str) -> list[str]:
    found, fence, lines, indent = [], "", list[str](), 0
    for line in text.split("\n"):
        mark = re.match(r"[ \t]*(`{3,}|~{3,})", line)
        if fence:
            if mark is not None and mark[1].startswith(fence):
                found.append("\n".join(lines))
                fence = ""
            else:  # in a list, code is indented as its fence is
                lines.append(line[indent:] if not line[:indent].strip() else line)
        elif mark is not None:
            fence, lines, indent = mark[1], [], len(line) - len(line.lstrip())
    return found


def _rows(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.split("\n") if line.strip().startswith("|")]
    return [[plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _is_kept(table: list[list[str]], rows: set[tuple[str, ...]]) -> bool:
    told = [tuple(row) for row in table if any(row)]
    plain_rows = {tuple(plain(cell.replace("|", "")) for cell in row) for row in rows}
    return sum(tuple(cell.replace("|", "") for cell in row) in plain_rows for row in told) >= 0.9 * len(told)


def _material(folder: Path, seed: int) -> dict[str, Path]:
    """Make the files once and return, by "kind/name", the page that each was made from."""
    index = folder / "sources.json"
    if not index.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        chosen: dict[str, str] = {}
        pandoc = _pandoc()
        for name in _PAGES:
            pages = [path for path in sorted(package(name).rglob("*.html")) if _is_page(path)]
            random.Random(f"{name}{seed}").shuffle(pages)
            for kind, count in _A_PACKAGE.items():
                taken, pages = pages[:count], pages[count:]
                for page in taken:
                    made = folder / kind / f"{name}-{page.stem[:60]}.{kind}"
                    made.parent.mkdir(parents=True, exist_ok=True)
                    if kind == "html":
                        shutil.copyfile(page, made)
                    elif pandoc is None or not _converted(pandoc, page, made):
                        continue
                    chosen[f"{kind}/{made.name}"] = str(page)
        (folder / "pdf").mkdir(parents=True)
        for name in _PDFS:
            for path in sorted(package(name).rglob("*.pdf")):
                if path.is_file() and not path.is_symlink():
                    shutil.copyfile(path, folder / "pdf" / f"{name}-{path.name}")
        index.write_text(json.dumps(chosen, indent=1))
    return {name: Path(path) for name, path in json.loads(index.read_text()).items()}


def _is_page(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and 3_000 < path.stat().st_size < 300_000


def _pandoc() -> Callable[[Sequence[str | Path]], None] | None:
    folders = [package(name) for name in _PANDOC]
    program = next(iter(folders[0].rglob("bin/pandoc")), None)
    data = next(iter(folders[1].rglob("share/pandoc/data")), None)
    library = next(iter(folders[2].rglob("liblua5.3.so*")), None)
    if program is None or data is None or library is None:
        return None
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "pandoc_datadir": str(data.parent)}

    def run(arguments: Sequence[str | Path]) -> None:
        subprocess.run(
            [program, "--data-dir", data, *arguments], check=True, capture_output=True, env=environment, timeout=60
        )

    return run


def _converted(pandoc: Callable[[Sequence[str | Path]], None], page: Path, made: Path) -> bool:
    try:
        # Code of many highlighted spans is one run of text to pandoc only if its language is not marked.
        pandoc(["-f", "html", "-t", made.suffix[1:], "-o", made, page])
    except (subprocess.SubprocessError, OSError):
        made.unlink(missing_ok=True)
        return False
    return True


def _core() -> int:
    return max(os.sched_getaffinity(0))


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    os.sched_setaffinity(0, {_core()})
    main(sys.argv[1:] or KINDS)
