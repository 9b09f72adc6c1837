"""What the page shows at once and what it folds away; its gate; the doctor's sentences in Chinese."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from metier.core import Workshop
from metier.evaluate.doctor.diagnosis import diagnose
from metier.evaluate.doctor.faults import look
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.doctor.trained_on import Ends, Leaked, Repeats
from metier.evaluate.gate import check
from metier.evaluate.leaks import Leak
from metier.evaluate.report import numbers, sections
from metier.evaluate.report.diagnosis_zh import UNCHECKED, in_chinese
from metier.evaluate.report.page import SHOWN_ANSWERS
from metier.evaluate.report.words import LANGUAGES
from tests.evaluate.doctor_material import Folders, Rates, seen
from tests.evaluate.exam_steps import SomeDocuments
from tests.evaluate.report_seven import Written, seven_models

STEP = seven_models(120)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def folder(shop: Workshop) -> Path:
    return shop.make(STEP).folder


def folded(html: str) -> str:
    """Return the first language's page without what is behind a click."""
    part = html.split('<div class="page page-')[1]
    while (start := part.rfind("<details>")) >= 0:
        part = part[:start] + part[part.index("</details>", start) + len("</details>") :]
    return part


def test_what_decides_is_seen_at_once_and_what_explains_it_is_a_click_away(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    whole, shown = html.split('<div class="page page-')[1], folded(html)
    assert "<details open" not in html
    ids = ("verdict", "radar", "forgotten", "gate", "doctor", "answers", "figures")
    places = [shown.index(f'id="{id}"') for id in ids]
    assert places == sorted(places) and "<svg" in shown[places[1] : places[2]]
    answer = '<article class="card answer">\n    <h3><span class="pill'
    assert shown.count(answer) == SHOWN_ANSWERS < whole.count(answer)
    for table in ('class="figures"', 'class="compact matrix'):
        assert table in whole and table not in shown


def test_the_gate_on_the_page_is_that_of_the_command(shop: Workshop, folder: Path) -> None:
    told = json.loads((folder / "report.json").read_text())
    base, final = (shop.make(STEP.models[told[which]]) for which in ("base", "final"))
    found = check(base, final)
    assert [(one["name"], one["split"], one["lost"]) for one in told["gate"]] == [
        (one.difference.name, one.difference.split, one.lost) for one in found
    ]
    assert [one["p"] for one in told["gate"]] == pytest.approx([one.p for one in found])
    key = "gate_lost" if any(one.lost for one in found) else "gate_held"
    html = (folder / "report.html").read_text()
    for words in LANGUAGES.values():
        assert words[key].split("{")[0].strip() in html


ILL = Rates(loops=0.4, run_on=0.8, refusals=0.3, formless=0.2, text_loss=0.4, reply_loss=0.4, length=3.5)


def chinese(model: Rates, base: Rates | None, **changed: Any) -> dict[str, dict[str, Any]]:
    """Return the faults of a diagnosis in Chinese, by name."""
    looked = seen(model, base, 1)._replace(**changed)
    sources = [SomeDocuments(), SomeDocuments(seed=1)]
    found = diagnose(look(looked), looked, Lineage(Folders(), [], sources), sources, None)  # type: ignore[arg-type]
    told = in_chinese(found, partial(numbers.measure, words=LANGUAGES["zh"]))
    return {fault["fault"]: fault for fault in told["faults"]}


@pytest.mark.parametrize("base", [Rates(), None])
def test_every_sentence_of_the_doctor_has_its_chinese(base: Rates | None) -> None:
    copied = Leak("question 0", "verbatim", 1.0, "x", "asked", "found")
    alike = Leak("question 1", "reworded", 1.0, "x", "asked", "found")
    found = chinese(
        ILL, base, ends=Ends(9, [("said", "why")]), repeats=[Repeats(0.5, 0.0, []), Repeats(0.3, 0.0, [])],
        leaked=[Leaked(0, [copied, *(alike._replace(id=f"question {at}") for at in range(2, 20))])],
    )  # fmt: skip
    for fault in found.values():
        assert fault["lang"] == "zh" and not any(letter in fault["words"] for letter in "{}"), fault["words"]
        if fault["found"] and fault["fault"] != "missing_end_token":
            assert fault["remedy"]["lang"] == "zh", fault["remedy"]
    assert "9 个训练用的回答中，有 1 个的结尾" in found["missing_end_token"]["words"]
    assert "训练数据 1 中，有 50.0% 的字符" in found["repetition"]["words"]
    assert ("比“base”多" if base else "个回答中有") in found["refusal_drift"]["words"]
    if base is not None:
        assert "通用文本的困惑度比“base”变化 +" in found["forgetting"]["words"]
    else:
        assert found["forgetting"]["words"] == UNCHECKED["forgetting"]


def test_a_fault_that_is_not_known_here_stays_as_the_doctor_wrote_it() -> None:
    told = {"against": None, "faults": [
        {"fault": "new", "checked": True, "found": True, "words": "as it was", "remedy": {"kind": "new", "why": "so"},
         "checks": [{"name": "new", "unit": "items", "found": True, "measured": 1.0, "bound": 0.0, "n": 1}]},
    ]}  # fmt: skip
    (fault,) = in_chinese(told, lambda value, _: str(value))["faults"]
    assert (fault["words"], fault["lang"], fault["remedy"]["lang"]) == ("as it was", "en", "en")


def test_leaks_hold_any_end_of_line_in_their_texts(tmp_path: Path) -> None:
    leak = {"id": "1", "kind": "verbatim", "share": 1.0, "where": "x", "exam": "one\u2028two\x85three", "evidence": "y"}
    made = Workshop(tmp_path).make(
        Written(file="report.json", told={"questions": 1, "leaks": {"verbatim": 1, "reworded": 0}, "exam": "e"})
    )
    (made.folder / "leaks.jsonl").write_text(json.dumps(leak, ensure_ascii=False) + "\n", encoding="utf-8")
    assert sections.leaks(made, "e")["shown"] == [leak]
    (made.folder / "events.jsonl").write_text('{"kind": "said", "what": "a\u2028b"}\n{"kind": "cu', encoding="utf-8")
    assert [event["what"] for event in made.events("said")] == ["a\u2028b"]
