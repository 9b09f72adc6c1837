"""The report as a whole: what is written, what it refuses, and that nothing on it comes from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.core.recipe import build_recipe
from metier.core.types import Report, Scores
from metier.evaluate.report import WriteReport
from metier.evaluate.report.words_en import ENGLISH
from tests.evaluate.report_material import CONTROL, HOSTILE, FakeScores, documents_only_report, full_report, made

LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """What a page is made of: its tags with attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(tmp_path_factory.mktemp("workshop"), full_report(hostile=True))


@pytest.fixture(scope="module")
def html(hostile: Report) -> str:
    return (hostile.folder / "report.html").read_text()


def test_the_page_loads_nothing_from_anywhere(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base", "form"), tag
        for name in LOADING & attributes.keys():
            assert (attributes[name] or "").startswith(("#", "data:")), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_what_a_model_answered_is_shown_as_text_and_never_run(html: str) -> None:
    page = Page(html)
    assert HOSTILE in page.text
    assert HOSTILE not in html
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_every_tag_is_closed_and_every_link_leads_somewhere(html: str) -> None:
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert links and links <= set(ids)


def test_every_chart_has_a_name_or_is_hidden_from_readers_who_cannot_see_it(html: str) -> None:
    charts = [attributes for tag, attributes in Page(html).tags if tag == "svg"]
    assert len(charts) > 10
    assert all(chart.get("aria-label") or chart.get("aria-hidden") == "true" for chart in charts)


def test_report_json_holds_exactly_the_rows_of_the_scores_under_their_labels(hostile: Report) -> None:
    step = full_report(hostile=True)
    shop = Workshop(hostile.folder.parent)
    expected = []
    for label, examination in {**step.models, **step.controls}.items():
        found = shop.find(examination)
        assert found is not None
        expected += [{**row, "model": label} for row in json.loads((found.folder / "scores.json").read_text())]
    written = json.loads((hostile.folder / "report.json").read_text())["figures"]
    assert written == expected
    assert list(written[0]) == ["name", "model", "split", "value", "low", "high", "n"]


def test_figures_that_the_page_does_not_know_are_shown_all_the_same(html: str) -> None:
    assert "words per answer (general prompts)" in html
    assert ENGLISH["direction_unknown"] in html


def test_a_recipe_without_executable_tasks_gets_its_page(tmp_path: Path) -> None:
    found = made(tmp_path, documents_only_report())
    text = Page((found.folder / "report.html").read_text()).text
    assert "Multiple choice" in text and "SQL" not in text
    for key in ("training", "ledger", "parity", "judge", "doctor", "decoding", "speed", "benchmarks", "calibration"):
        assert ENGLISH[key] not in re.sub(r"\s+", " ", text).split(ENGLISH["limits"])[0], key


def test_one_model_alone_gets_its_page(tmp_path: Path) -> None:
    found = made(tmp_path, WriteReport(models={"base": FakeScores()}))
    assert ENGLISH["one_model"].format(base="base") in (found.folder / "report.html").read_text()


def test_a_model_whose_answers_are_not_all_there_fails_the_report(tmp_path: Path) -> None:
    models = {"base": FakeScores(), "sft": FakeScores(label="sft", lose_answers=3)}
    with pytest.raises(Failure, match="the answers of 'sft' are not all there"):
        made(tmp_path, WriteReport(models=models))


def test_a_cut_line_of_answers_fails_the_report_and_is_not_mended(tmp_path: Path) -> None:
    base = FakeScores()
    answers = Workshop(tmp_path).make(base).folder / "answers.jsonl"
    cut = answers.read_text()[:-10]
    answers.write_text(cut)
    with pytest.raises(Failure, match="is not a whole answer"):
        made(tmp_path, WriteReport(models={"base": base, "sft": FakeScores(label="sft")}))
    assert answers.read_text() == cut


def test_answers_that_give_another_figure_fail_the_report(tmp_path: Path) -> None:
    base = FakeScores()
    scores = Workshop(tmp_path).make(base).folder / "scores.json"
    rows = json.loads(scores.read_text())
    rows[0]["value"] += 0.01
    scores.write_text(json.dumps(rows))
    with pytest.raises(Failure, match="the answers of 'base' do not give its figure"):
        made(tmp_path, WriteReport(models={"base": base, "sft": FakeScores(label="sft")}))


def test_models_of_unlike_exams_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="unlike exams"):
        made(tmp_path, WriteReport(models={"base": FakeScores(), "sft": FakeScores(label="sft", exam="another")}))


def test_the_same_figures_give_the_same_report(tmp_path: Path) -> None:
    pages = [made(tmp_path / name, documents_only_report()).folder / "report.json" for name in ("one", "two")]
    told = [json.loads(page.read_text()) for page in pages]
    for one in told:  # how long it took is another matter
        del one["cost"], one["made"]
    assert json.dumps(told[0]) == json.dumps(told[1])


def test_a_dict_of_examinations_is_held_and_a_label_used_twice_is_refused(tmp_path: Path) -> None:
    step = full_report()
    held = step.held()
    assert [examination.label for examination in held["models"] if isinstance(examination, FakeScores)] == [
        "base",
        "cpt",
        "sft",
        "dpo",
    ]
    assert len(held["ledger"]) == 4
    written = {
        "scores": {"step": "fake-examine"},
        "report": {"step": "report", "models": {"base": "$scores"}, "controls": {"base": "$scores"}},
    }
    with pytest.raises(Mistake, match="models and controls both have base"):
        build_recipe(written, tmp_path)


def test_a_recipe_that_holds_the_wrong_kind_is_told(tmp_path: Path) -> None:
    written = {"report": {"step": "report", "models": {"base": "scores.json"}}}
    with pytest.raises(Mistake, match=r"'report\.models"):
        build_recipe(written, tmp_path)


def test_the_ledger_takes_steps_of_any_kind_and_nothing_else(tmp_path: Path) -> None:
    written: dict[str, dict[str, Any]] = {
        "docs": {"step": "fake-read"},
        "scores": {"step": "fake-examine"},
        "report": {"step": "report", "models": {"base": "$scores"}, "ledger": ["$docs", "docs"]},
    }
    with pytest.raises(Mistake, match="a step that makes Artifact is wanted"):
        build_recipe(written, tmp_path)
    written["report"]["ledger"] = ["$docs", "$scores"]
    assert [step.makes for step in build_recipe(written, tmp_path).steps["report"].held()["ledger"]][1] is Scores


def test_the_page_speaks_only_words_that_are_in_one_place() -> None:
    from importlib.resources import files

    room = files("metier.evaluate.report")
    template = "".join(path.read_text() for path in room.iterdir() if path.name.endswith(".j2"))
    used = set(re.findall(r"\bw\.(\w+)", template)) | set(re.findall(r'\b(?:say\(|w\[)"(\w+)"\s*[,\])]', template))
    assert used - {"get"} and used - {"get"} <= ENGLISH.keys()
    bare = re.sub(r"\{%.*?%\}|\{#.*?#\}|\{\{.*?\}\}", " ", template, flags=re.S)
    bare = re.sub(r"<style>.*?</style>|<[^>]*>", " ", bare, flags=re.S)
    assert not re.search(r"[A-Za-z]{3,}", bare), "a word stands in the template itself"


def test_the_control_is_on_the_page_and_not_among_the_models(html: str) -> None:
    assert f"The control “{CONTROL}”" in Page(html).text
    assert "base → cpt → sft → dpo" in Page(html).text
