"""Names and addresses: found where something speaks of them, left where manuals only look like it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pytest

from metier.core import Mistake
from metier.corpus.anonymise.finder import Finder, Wanted
from metier.corpus.anonymise.kinds import SORTS, Code

Find = Callable[[str], list[str]]


def finding(kind: str, **more: object) -> Find:
    finder = Finder(Wanted(**more))  # type: ignore[arg-type]

    def found(text: str) -> list[str]:
        data = text.encode()
        spans = finder(pa.array([text], pa.string())).get(0, [])
        return [data[span.start : span.end].decode() for span in spans if SORTS[Code(span.code)].kind == kind]

    return found


@pytest.fixture(scope="module")
def names() -> Find:
    return finding("name")


@pytest.fixture(scope="module")
def addresses() -> Find:
    return finding("address")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dear Ms. Okonkwo,\nthank you.", "Okonkwo"),
        ("Ask Dr. med. Anna-Lena Meyer-Krahmer about it.", "Anna-Lena Meyer-Krahmer"),
        ("Sehr geehrte Frau von der Leyen,", "von der Leyen"),
        ("Best regards,\nSiobhan O'Leary\n", "Siobhan O'Leary"),
        ("Mit freundlichen Grüßen\n\nJürgen Tönnies\n", "Jürgen Tönnies"),
        ("From: Zbigniew Kowal <zk@firma.pl>", "Zbigniew Kowal"),
        ("Signed-off-by: Krzysztof Halasa <kh@pm.pl>", "Krzysztof Halasa"),
        ("- Xiao Guangrong <guangrong@intel.org>", "Xiao Guangrong"),
        ("mail kh@pm.pl (Krzysztof Halasa) first", "Krzysztof Halasa"),
        ("Patient: Oyelaran Adebayo\nWard 3", "Oyelaran Adebayo"),
        ("as John F. Kennedy said", "John F. Kennedy"),
        ("contributed by Guido van Rossum.", "Guido van Rossum"),
        ("| Caitlyn Johnson | 17 |", "Caitlyn Johnson"),
        ("Ansprechpartner: Kaya Yıldız, Raum 3", "Kaya Yıldız"),
        ("Mark Williams wrote it", "Mark Williams"),
        ("请联系张伟先生", "张伟"),
        ("和李晓明女士通话", "李晓明"),
        ("尊敬的任桂兰女士：", "任桂兰"),
        ("姓名：欧阳震华\n", "欧阳震华"),
        ("本人王芳，身份证号码", "王芳"),
        ("刘洋，电话13812345678", "刘洋"),
        ("王小明 13812345678", "王小明"),
        ("找陈静经理。", "陈静"),
    ],
)
def test_a_name_is_found_where_something_speaks_of_it(names: Find, text: str, expected: str) -> None:
    assert expected in names(text)


@pytest.mark.parametrize(
    "text",
    [
        "Lua, Apache and Perl call the Jordan algorithm; Hello World! Dear Sir or Madam, Hi Team,",
        "Grace Hash Join, the Julia Language, Ruby Gems, Mark Sweep collection, Rose Tree, Will Not Fix",
        "Name: Advanced Settings\nAuthor: Unknown\nContact: Sales Department\nFrom: Linux Kernel <list@kernel.org>",
        "Victoria Station, Sydney Airport, Virginia Tech, Florence Italy, April Release, May Update",
        "Best regards,\nThe Team\n",
        "高级经理和数学老师说项目经理方面的文件管理。用户登录，客户名称，作者简介。",
        "The miss rate and the Dr. in the drive; Mr. and Mrs. in general; M. is a letter.",
    ],
)
def test_manuals_keep_their_words(names: Find, text: str) -> None:
    assert names(text) == []


def test_who_was_named_is_found_again_by_family_name(names: Find) -> None:
    text = "Signed-off-by: Anke Reimers <ar@b.de>\n\nAs Reimers showed, Reimers' lemma holds. Anke Reimers agrees."
    assert names(text) == ["Anke Reimers", "Reimers", "Reimers", "Anke Reimers"]


def test_a_family_name_that_is_a_word_of_the_text_names_no_one_alone(names: Find) -> None:
    text = "From: Stuart Maine <sm@b.de>\n\nMaine developers use the maine branch."
    assert names(text) == ["Stuart Maine"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lives at 351 West 10th Street, Apt 4.", "351 West 10th Street, Apt 4"),
        ("47069 Bryan Knoll Apt. 922\nPort Michael, NY 12345", "47069 Bryan Knoll Apt. 922\nPort Michael, NY 12345"),
        ("12 Baker Street, London NW1 6XE", "12 Baker Street, London NW1 6XE"),
        ("wohnt Schmidtstraße 12a, 10115 Berlin.", "Schmidtstraße 12a, 10115 Berlin"),
        ("Hans-Peter-Allee 7\n84751 Bad Tölz am See", "Hans-Peter-Allee 7\n84751 Bad Tölz am See"),
        ("Rosenring 9, 16103 Rottweil", "Rosenring 9, 16103 Rottweil"),
        ("habite 92, chemin Thierry\n42714 Adamboeuf", "92, chemin Thierry\n42714 Adamboeuf"),
        ("12 bis, rue de la Paix, 75002 Paris", "12 bis, rue de la Paix, 75002 Paris"),
        ("rue Vidal, 05618 Saint-Denis", "rue Vidal, 05618 Saint-Denis"),
        ("地址：北京市朝阳区建国路88号2号楼1501室。", "北京市朝阳区建国路88号2号楼1501室"),
        ("在朝阳区建国路88号见", "朝阳区建国路88号"),
    ],
)
def test_an_address_is_found_whole(addresses: Find, text: str, expected: str) -> None:
    assert expected in addresses(text)


@pytest.mark.parametrize(
    "text",
    [
        "during 2020, ring 0, on the way 3, place 1 of 12345 Bytes, Platz 1, auf dem Weg 2",
        "SELECT a FROM b WHERE x IN (1) OR 12345; MA 02111 is a code",
        "北京大学的网络路径和线路88号，节省市场区域",
        "3 place holders, 5 route entries, 7 cours",
    ],
)
def test_what_only_looks_like_an_address_stays(addresses: Find, text: str) -> None:
    assert addresses(text) == []


def test_only_the_languages_asked_for_are_looked_at() -> None:
    english = finding("name", languages=("en",))
    assert english("请联系张伟先生") == [] and english("Dear Anna Smith,") == ["Anna Smith"]
    assert finding("id", languages=("zh",))("SSN 123-45-6789") == []


def test_own_words_and_patterns_are_found_as_words_of_their_own() -> None:
    own = finding("word", words=("Project Nightjar", "夜鹰计划", "#4711", "Qx"), patterns=(r"CASE-\d+",))
    assert own("Project Nightjar, 关于夜鹰计划的说明, #4711, CASE-17 and Qx") == [
        "Project Nightjar",
        "夜鹰计划",
        "#4711",
        "CASE-17",
        "Qx",
    ]
    assert own("Project Nightjars #47112 Qxy") == []


def fake(name: str, **members: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(members)
    return module


def test_a_tagger_finds_names_in_running_text_and_in_every_part_of_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipeline(text: str) -> SimpleNamespace:
        at = text.find("Wumi")
        entity = SimpleNamespace(label_="PERSON", start_char=at, end_char=at + 4)
        place = SimpleNamespace(label_="GPE", start_char=0, end_char=2)
        return SimpleNamespace(ents=[place, entity] if at >= 0 else [place])

    monkeypatch.setitem(sys.modules, "spacy", fake("spacy", load=lambda model, disable: pipeline))
    tagged = finding("name", tagger="spacy:any")
    assert tagged("Öl: yesterday Wumi left.") == ["Wumi"]
    assert tagged("word " * 30_000 + "\nWumi") == ["Wumi"]


def test_the_other_taggers_speak_their_own_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Analyser:
        def analyze(self, text: str, language: str, entities: list[str]) -> Iterator[SimpleNamespace]:
            assert (language, entities) == ("en", ["PERSON"])
            yield SimpleNamespace(start=text.index("Wumi"), end=text.index("Wumi") + 4)

    class Lac:
        def __init__(self, mode: str) -> None:
            assert mode == "lac"

        def run(self, text: str) -> tuple[list[str], list[str]]:
            return ["昨天", "海雪", "来", "海雪"], ["t", "PER", "v", "PER"]

    monkeypatch.setitem(sys.modules, "presidio_analyzer", fake("presidio_analyzer", AnalyzerEngine=Analyser))
    monkeypatch.setitem(sys.modules, "LAC", fake("LAC", LAC=Lac))
    assert finding("name", tagger="presidio")("and Wumi left") == ["Wumi"]
    assert finding("name", tagger="lac")("昨天海雪来海雪") == ["海雪", "海雪"]


def test_a_tagger_that_is_not_there_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(Mistake, match="not installed"):
        Finder(Wanted(tagger="spacy:en_core_web_sm"))
    with pytest.raises(Mistake, match="no tagger 'bert'"):
        Finder(Wanted(tagger="bert:x"))
