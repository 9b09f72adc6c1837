"""The report on seven models with all that can be on it, on two with next to nothing, and in two languages."""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from pytest import approx

from metier.core import Failure, Mistake, Workshop
from metier.evaluate.baselines import Enough, Rival, Setting
from metier.evaluate.compare import Difference, Kind
from metier.evaluate.execution import grade_interval
from metier.evaluate.report import WriteReport, words_en, words_zh
from metier.evaluate.report.cost import parameters
from metier.evaluate.report.facts import needed_verdict
from metier.evaluate.report.numbers import decoding, many, measure, size
from metier.evaluate.report.page import SECTIONS
from metier.evaluate.report.sections import changes
from metier.evaluate.report.words import LANGUAGES, dimension_of
from tests.evaluate.report_seven import (
    ABILITY,
    LEAK,
    LEAKS,
    Benchmark,
    Sitting,
    ToyModel,
    Written,
    seven_models,
    two_models,
)
from tests.evaluate.test_report import Page

ENGLISH, CHINESE = words_en.ENGLISH, words_zh.CHINESE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Workshop(tmp_path_factory.mktemp("workshop")).make(seven_models(120, "en")).folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def in_language(html: str, code: str) -> str:
    """Return the text of the page in one language."""
    part = html.split(f'<div class="page page-{code}"')[1].split('<div class="page page-')[0]
    return re.sub(r"\s+", " ", Page(f'<div class="page"{part}'.split("</body>")[0]).text)


def test_both_languages_have_the_same_words_with_the_same_places_for_numbers() -> None:
    def places(text: str) -> list[str]:
        return sorted(name for _, name, _, _ in Formatter().parse(text) if name)

    assert ENGLISH.keys() == CHINESE.keys() and words_en.NAMES.keys() == words_zh.NAMES.keys()
    assert {key for key in ENGLISH if places(ENGLISH[key]) != places(CHINESE[key])} == set()


def test_every_section_is_on_the_page_once_in_each_language(html: str) -> None:
    ids = [id for _, attributes in Page(html).tags if (id := attributes.get("id")) is not None]
    assert len(ids) == len(set(ids))
    there = [id for id in SECTIONS if id != "ledger"]
    assert [id for id in ids if id in SECTIONS] == there
    assert [id for id in ids if id.removeprefix("zh-") in SECTIONS and id.startswith("zh-")] == [
        f"zh-{id}" for id in there
    ]
    for code, words in LANGUAGES.items():
        text = in_language(html, code)
        assert all(words[id] in text for id in there)


def test_the_chinese_page_says_nothing_in_english_that_it_has_words_for(html: str) -> None:
    text, other = in_language(html, "zh"), in_language(html, "en")
    phrases = [value for value in ENGLISH.values() if len(value.split()) > 2 and "{" not in value]
    assert len(phrases) > 60 and [one for one in phrases if one in text] == []
    assert [one for one in CHINESE.values() if "{" not in one and len(one) > 8 and one in other] == []


def test_the_page_opens_in_the_language_of_its_recipe_and_holds_no_script(tmp_path: Path, html: str) -> None:
    page = (
        Workshop(tmp_path).make(two_models(24).model_copy(update={"language": "zh"})).folder / "report.html"
    ).read_text()
    assert '<html lang="zh">' in page and '<html lang="en">' in html
    (switch,) = [a for tag, a in Page(page).tags if tag == "input" and a.get("type") == "radio" and "checked" in a]
    assert switch["id"] == "lang-zh"
    assert not [tag for tag, _ in Page(html).tags if tag in ("script", "iframe", "img", "form")]
    with pytest.raises(ValueError, match="'en' or 'zh'"):
        WriteReport(models={"base": Sitting(model=ToyModel(), label="base")}, language="fr")


def test_every_shown_question_has_the_answers_of_base_and_final_in_sight_and_the_others_behind_a_click(
    html: str, told: dict[str, Any]
) -> None:
    articles = [one for one in html.split('<article class="card answer">')[1:] if 'class="replies"' in one]
    assert len(articles) == 2 * len(told["answers"]["shown"]) > 4
    for article in articles:
        seen, behind = article.split("</article>")[0].split("<details>")
        models = [re.findall(r"<h4><svg.*?</svg> (\S+) <", part, re.S) for part in (seen, behind)]
        assert models == [["base", "DPO"], ["base+few-shot", "base+RAG", "CPT", "SFT", "DPO+RAG"]]
        assert (told["base"], told["final"]) == ("base", "DPO")


def test_what_was_not_given_is_not_on_the_page_nor_in_the_json(tmp_path: Path) -> None:
    folder = Workshop(tmp_path).make(two_models(24)).folder
    ids = {a.get("id") for _, a in Page((folder / "report.html").read_text()).tags}
    told = json.loads((folder / "report.json").read_text())
    for name in ("benchmarks", "judge", "doctor", "leaks", "decoding", "speed", "training", "ledger"):
        assert name not in ids and name not in told
    assert {"radar", "figures", "answers", "calibration", "cost"} <= ids
    assert "training_needed" not in told and "verdict" in ids


def test_shares_by_dimension_are_those_of_the_examination(folder: Path, told: dict[str, Any]) -> None:
    step = seven_models(120, "en")
    for label, sitting in step.models.items():
        made = Workshop(folder.parent).find(sitting)
        assert made is not None
        rows = [json.loads(line) for line in (made.folder / "answers.jsonl").read_text().splitlines()]
        names = dict.fromkeys(row["dimension"] for row in rows if row.get("dimension") and "score" in row)
        own = {name: [row for row in rows if row.get("dimension") == name and "score" in row] for name in names}
        expected = sorted((name, *grade_interval(graded)) for name, graded in own.items())
        shown = [
            (dimension["name"], *(one["share"][key] for key in ("value", "low", "high", "n")))
            for dimension in told["dimensions"]
            for one in dimension["standings"]
            if one["model"] == label
        ]
        assert sorted(shown) == expected


def test_outcomes_of_a_dimension_add_up_and_their_balance_is_the_change(told: dict[str, Any]) -> None:
    for dimension in told["dimensions"]:
        (final,) = [one for one in dimension["standings"] if one["model"] == told["final"]]
        counts = dimension["outcomes"]
        assert sum(counts.values()) == final["share"]["n"]
        assert dimension["net"]["value"] == approx((counts["won"] - counts["lost"]) / final["share"]["n"])
        assert dimension["net"]["value"] == approx(final["change"]["value"])


def test_training_is_called_needed_only_where_every_baseline_is_clearly_worse(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    assert told["training_needed"]["enough"] is None
    assert all(one["worse"] for one in told["training_needed"]["rivals"])
    step = seven_models(120, "en")
    models = {label: step.models[label] for label in ("base", "base+few-shot", "base+RAG", "CPT")}
    folder = Workshop(tmp_path).make(WriteReport(models=models)).folder
    found = json.loads((folder / "report.json").read_text())["training_needed"]
    assert found["enough"] == "base+few-shot" and found["verdict"] == "untold"  # 20 items a dimension tell little
    page = (folder / "report.html").read_text()
    assert ENGLISH["needed_untold"] in in_language(page, "en") and CHINESE["needed_untold"] in in_language(page, "zh")


def test_a_baseline_is_called_enough_only_where_the_intervals_show_it() -> None:
    def against(low: float, chance: float) -> Enough:
        one = Difference("multiple_choice", "held_out", Kind.DIFFERENCE, 0.7, 0.7, 0.0, low, 0.02, 900)
        return Enough("DPO", [Rival("base+RAG", Setting(passages=4), [one], [chance])])

    verdicts = [needed_verdict(against(low, p)) for low, p in ((-0.02, 0.4), (-0.06, 0.2), (-0.3, 0.2), (-0.3, 0.01))]
    assert verdicts == ["enough", "maybe", "untold", "yes"]


def test_benchmarks_stand_under_the_labels_of_the_exam_and_name_what_was_forgotten(
    told: dict[str, Any], html: str
) -> None:
    assert {row["model"] for row in told["benchmarks"]["figures"]} == {"base", "CPT", "SFT", "DPO"}
    worse = {one["name"] for one in told["benchmarks"]["differences"] if one["model"] == "DPO"}
    assert worse == {"mmlu", "hellaswag", "gsm8k"}
    assert all(one["paired"] for one in told["benchmarks"]["differences"])
    assert "Clearly worse than “base”: mmlu (acc)" in in_language(html, "en").replace("hellaswag (acc), ", "").replace(
        "gsm8k (acc), ", ""
    )


def test_one_benchmark_twice_for_one_model_is_refused(tmp_path: Path) -> None:
    base = ToyModel()
    twice = tuple(Benchmark(model=base, label="base", drop=drop) for drop in (0.0, 0.1))
    with pytest.raises(Mistake, match="from two benchmark steps"):
        Workshop(tmp_path).make(
            WriteReport(models={"base": Sitting(model=base, label="base", items=24)}, benchmarks=twice)
        )


def test_a_step_of_another_kind_in_a_field_is_told_so(tmp_path: Path) -> None:
    models = {"base": Sitting(model=ToyModel(), label="base", items=24)}
    wrong = Written(file="diagnosis.json", told={})
    with pytest.raises(Mistake, match=r"'speed' holds no speed\.json"):
        Workshop(tmp_path).make(WriteReport(models=models, speed=(wrong,)))


def test_a_leak_check_of_another_exam_is_refused(tmp_path: Path) -> None:
    models = {"base": Sitting(model=ToyModel(), label="base", items=24)}
    other = Written(file="report.json", told={**LEAKS, "exam": "medicine"}, leaks=(LEAK,))
    with pytest.raises(Mistake, match="looked at another exam"):
        Workshop(tmp_path).make(WriteReport(models=models, leaks=other))


def test_a_model_with_missing_parts_is_shown_with_what_it_has(tmp_path: Path) -> None:
    base = ToyModel()
    models = {
        "base": Sitting(model=base, label="base", items=60),
        "CPT": Sitting(model=ToyModel(base=base, steps=3), label="CPT", items=60, old=True),
        "SFT": Sitting(model=ToyModel(base=base, steps=5), label="SFT", items=60),
    }
    folder = Workshop(tmp_path).make(WriteReport(models=models)).folder
    told = json.loads((folder / "report.json").read_text())
    assert [one["model"] for one in told["dimensions"][0]["standings"]] == ["base", "SFT"]
    assert list(told["calibration"]) == ["base", "SFT"]
    assert {row["model"] for row in told["figures"]} == {"base", "CPT", "SFT"}


def test_examinations_from_before_dimensions_get_the_radar_of_their_figures(tmp_path: Path) -> None:
    models = {label: Sitting(model=ToyModel(steps=3), label=label, items=60, old=True) for label in ("base", "DPO")}
    folder = Workshop(tmp_path).make(WriteReport(models=models)).folder
    page = (folder / "report.html").read_text()
    assert "dimensions" not in json.loads((folder / "report.json").read_text())
    assert ENGLISH["rule_against_base"] in in_language(page, "en") and 'class="radar"' in page


def test_likelihoods_that_cannot_be_read_fail_the_report(tmp_path: Path) -> None:
    step = Sitting(model=ToyModel(), label="base", items=24)
    path = Workshop(tmp_path).make(step).folder / "answers.jsonl"
    path.write_text(path.read_text().replace('"option_bytes": [', '"option_bytes": [0, ', 1))
    with pytest.raises(Failure, match="the likelihoods of the options of 'base' cannot be read"):
        Workshop(tmp_path).make(WriteReport(models={"base": step}))


def test_the_json_holds_what_its_documentation_names(told: dict[str, Any]) -> None:
    from metier.evaluate.report import facts

    assert facts.__doc__ is not None
    documented = set(re.findall(r"\b[a-z_]+\b", facts.__doc__))
    assert told.keys() <= documented
    assert told["cost"]["training"][0]["parameters"] == 3585 * 2_097_152
    assert told["cost"]["answering"][0]["tokens"] > 0


def test_parameters_are_counted_from_the_headers_of_the_weights(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": []}}).encode()
    (tmp_path / "one.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert parameters(tmp_path) == 13
    (tmp_path / "two.safetensors").write_bytes(b"cut")
    assert parameters(tmp_path) is None
    assert parameters(tmp_path / "none") is None


def test_a_remedy_is_told_as_the_lines_that_change() -> None:
    inserted = {"insert": {"name": "clean", "entry": {"step": "dedup", "corpus": "$docs"}}, "after": "docs"}
    changed = {"step": "cpt", "field": "epochs", "from": None, "to": 2}
    assert changes({"changes": [inserted, changed]}) == ["+ clean: {step: dedup, corpus: $docs}", "cpt.epochs: – → 2"]
    assert changes(None) == []


def test_numbers_are_told_in_their_units() -> None:
    assert decoding({"temperature": 0.0, "top_p": 0.9, "max_tokens": 64}, ENGLISH) == "greedy, max_tokens 64"
    assert decoding({"temperature": 0.7, "top_p": 1.0, "top_k": 40}, ENGLISH) == "temperature 0.7, top_k 40"
    assert [measure(0.05, unit, ENGLISH) for unit in ("share", "points of share", "times the reference", "items")] == [
        "5.0%",
        "+5.0 points",
        "× 0.0500",
        "0.0500",
    ]
    assert [size(count) for count in (512, 4_100_000, 14_200_000_000)] == ["512 B", "4.1 MB", "14.2 GB"]
    assert [many(count) for count in (950, 135_000_000, 7_240_000_000)] == ["950", "135M", "7.24B"]
    assert [dimension_of(name, CHINESE) for name in ("syntax", "task: sql", "ethics")] == [
        "句法",
        "任务：sql",
        "ethics",
    ]


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
SEEN = {
    "fully": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "without red": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "without green": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
}


def linear(colour: str) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def product(row: tuple[float, ...], colour: list[float]) -> float:
    return sum(share * part for share, part in zip(row, colour, strict=True))


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """Return CIE 1976 L*a*b* of linear sRGB under D65."""
    r, g, b = (min(1.0, max(0.0, part)) for part in rgb)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_models_can_be_told_apart_by_whoever_sees_no_red_or_no_green() -> None:
    style = (files("metier.evaluate.report") / "report.css").read_text()
    grounds = re.findall(r"--card: (#\w{6})", style)
    palettes = [re.findall(r"--c\d: (#\w{6})", line) for line in style.splitlines() if "--c0: #" in line]
    assert len(grounds) == len(palettes) == 2
    for ground, colours in zip(grounds, palettes, strict=True):
        assert len(colours) == 8
        for colour in colours:  # WCAG 2.2, 1.4.11: 3 to 1 for what is not text
            light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3.0 - 0.05, colour
        for seen, matrix in SEEN.items():
            found = [
                lab([sum(r * c for r, c in zip(row, linear(one), strict=True)) for row in matrix]) for one in colours
            ]
            assert min(math.dist(*pair) for pair in itertools.combinations(found, 2)) > 30, seen


@pytest.mark.slow
def test_a_page_on_seven_models_of_two_thousand_answers_is_small(tmp_path: Path) -> None:
    folder = Workshop(tmp_path).make(seven_models(2000)).folder
    assert len(ABILITY) == 7
    assert (folder / "report.html").stat().st_size < 1_500_000
    assert (folder / "report.json").stat().st_size < 1_500_000
