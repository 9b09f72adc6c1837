"""The step: what leaves, what is counted, and that no value is anywhere it should not be."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metier.core import Artifact, Failure, Host, LocalPath, Mistake, Step, Work, Workshop
from metier.core.types import Document, Documents
from metier.corpus.anonymise import Anonymise
from metier.corpus.anonymise import operator as operator_module
from metier.corpus.anonymise.audit import shape
from metier.corpus.anonymise.finder import Finder, Wanted
from metier.corpus.anonymise.operator import FAILED, Anonymisation
from metier.corpus.anonymise.reidentify import Entry, entries, restore, seal
from metier.corpus.documents import new_document, text_digest
from tests.corpus.given import TWO, write_shards

KEY, PASSPHRASE = "a key that only the tests know, really", "a passphrase that only the tests know"
SECRETS = ["anna.schmidt@firma.de", "Anna Schmidtke", "4111 1111 1111 1111", "138-1234-5678", "hunter2!", "Nightjar"]
TEXTS = [
    "From: Anna Schmidtke <anna.schmidt@firma.de>\nCard 4111 1111 1111 1111.",
    "Nothing personal in this text about trees.",
    "手机138-1234-5678，密码：hunter2!，谢谢。",
    "Write to anna.schmidt@firma.de again about Nightjar.",
]


class Letters(Step[Documents]):
    """The documents of the tests, two in a shard."""

    name: ClassVar[str] = "test-letters"
    texts: tuple[str, ...] = tuple(TEXTS)
    title: str = ""

    def run(self, work: Work) -> None:
        rows = [
            new_document(f"box{number % 2}/{number}.txt", text, self.title) for number, text in enumerate(self.texts)
        ]
        write_shards(work.folder, rows, 2)
        work.count("document", len(rows), len(rows), made={"document": len(rows)})


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_PSEUDONYM_KEY", KEY)
    monkeypatch.setenv("METIER_MAP_PASSPHRASE", PASSPHRASE)
    operator_module._pseudonyms.cache_clear()
    operator_module._passphrase.cache_clear()


def made(folder: Path, host: Host | None = None, **fields: Any) -> Artifact:
    texts = fields.pop("texts", tuple(TEXTS))
    title = fields.pop("title", "")
    return Workshop(folder, host=host).make(Anonymise(corpus=Letters(texts=texts, title=title), **fields))


def rows(artifact: Artifact) -> list[Document]:
    return list(Documents(artifact.folder).rows())


def everything_written(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of all files below a folder, and of Parquet files what they hold."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.read_bytes()
            if path.suffix == ".parquet":
                yield repr(pq.read_table(path).to_pylist()).encode()


def test_masks_stand_for_what_was_found_and_digests_follow(tmp_path: Path) -> None:
    documents = rows(made(tmp_path))
    assert documents[0].text == "From: [NAME] <[EMAIL]>\nCard [CARD]."
    assert documents[1].text == TEXTS[1]
    assert documents[2].text == "手机[PHONE]，密码：[PASSWORD]，谢谢。"
    assert [document.digest for document in documents] == [text_digest(document.text) for document in documents]


def test_the_ledger_and_the_audit_add_up(tmp_path: Path) -> None:
    artifact = made(tmp_path, actions={"card": "drop"})
    line = artifact.record.ledger.lines[-1]
    assert (line.came, line.kept, line.dropped) == (4, 3, {"holds personal data: card": 1})
    audit = json.loads((artifact.folder / "audit.json").read_text())
    counts = {label: entry["count"] for label, entry in audit["found"].items()}
    assert counts == {"email": 2, "name": 1, "card": 1, "phone": 1, "password": 1} == artifact.record.figures["found"]
    assert audit["found"]["card"]["actions"] == {"drop": 1} and audit["found"]["email"]["actions"] == {"mask": 2}
    assert audit["sources"] == {
        "box0": {"card": 1, "email": 1, "name": 1, "password": 1, "phone": 1},
        "box1": {"email": 1},
    }
    assert audit["documents"] == 4 and audit["left_out"] == {"holds personal data: card": 1}


def test_no_value_is_in_anything_that_is_written(tmp_path: Path, keys: None, capfd: pytest.CaptureFixture[str]) -> None:
    words = tmp_path / "words.txt"
    words.write_text("Nightjar\n")
    fields: dict[str, Any] = {
        "actions": {"card": "drop", "phone": "pseudonym"},
        "reidentification": True,
        "words": LocalPath(words),
    }
    artifact = made(tmp_path / "runs", title="Letter of Anna Schmidtke to anna.schmidt@firma.de", **fields)
    spoken = capfd.readouterr()
    written = [*everything_written(artifact.folder), spoken.out.encode(), spoken.err.encode()]
    # Of the document that was left out, the title stands in dropped/, masked as well.
    assert any(b"Letter of [NAME] to [EMAIL]" in data for data in written)
    for secret in [*SECRETS, KEY, PASSPHRASE]:
        assert not any(secret.encode() in data for data in written), secret


def test_pseudonyms_are_the_same_in_every_shard_and_process(tmp_path: Path, keys: None) -> None:
    texts = tuple(f"Document {number} says: mail anna.schmidt@firma.de. {'word ' * 8000}" for number in range(40))
    one = rows(made(tmp_path / "one", action="pseudonym", texts=texts))
    two = rows(made(tmp_path / "two", host=TWO, action="pseudonym", texts=texts))
    assert one == two
    assert len({document.text.split("mail ")[1].split(". ")[0] for document in one}) == 1
    assert "anna" not in one[0].text and "@example." in one[0].text


def test_another_key_gives_other_pseudonyms(tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(made(tmp_path / "one", action="pseudonym"))
    monkeypatch.setenv("METIER_PSEUDONYM_KEY", "another key that the tests know")
    assert first[0].text != rows(made(tmp_path / "two", action="pseudonym"))[0].text


def test_a_key_file_will_do_instead_and_is_nowhere_in_the_record(tmp_path: Path, keys: None) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    by_file = made(tmp_path / "one", action="pseudonym", key_file=str(tmp_path / "key"))
    assert rows(by_file) == rows(made(tmp_path / "two", action="pseudonym"))
    assert KEY not in (by_file.folder / "record.json").read_text()


@pytest.mark.parametrize("value", ["", "too short"])
def test_pseudonyms_without_a_good_key_are_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("METIER_PSEUDONYM_KEY", value)
    with pytest.raises(Mistake, match="no key of at least 16 bytes") as raised:
        made(tmp_path, action="pseudonym")
    assert value == "" or value not in str(raised.value)


def test_a_key_file_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="cannot be read"):
        made(tmp_path, action="pseudonym", key_file=str(tmp_path / "nowhere"))


def test_an_attempt_with_another_key_than_the_first_is_refused(
    tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("metier.corpus.engine.apply", killed)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, action="pseudonym")
    monkeypatch.setenv("METIER_PSEUDONYM_KEY", "another key that the tests know")
    with pytest.raises(Mistake, match="another than the one this work was begun with"):
        made(tmp_path, action="pseudonym")
    monkeypatch.setenv("METIER_PSEUDONYM_KEY", KEY)
    assert len(rows(made(tmp_path, action="pseudonym"))) == 4


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_worker_with_another_key_stops_the_work(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    place = operator_module.KeyPlace("METIER_PSEUDONYM_KEY", None, "0" * 16)
    with pytest.raises(Mistake, match="a worker has another key"):
        place.read()


def test_the_map_leads_back_and_only_with_its_passphrase(tmp_path: Path, keys: None) -> None:
    artifact = made(tmp_path, action="pseudonym", reidentification=True)
    pairs = list(entries(artifact.folder, PASSPHRASE.encode()))
    assert {entry.value for entry in pairs if entry.label == "email"} == {"anna.schmidt@firma.de"}
    assert [restore(document.text, pairs) for document in rows(artifact)] == TEXTS
    with pytest.raises(Mistake, match="does not open"):
        list(entries(artifact.folder, b"another passphrase, long enough"))


def test_a_damaged_map_does_not_open(tmp_path: Path) -> None:
    seal(tmp_path, "a", [Entry("email", "x@example.com", "a@b.de")], PASSPHRASE.encode(), bytes(16))
    (path,) = tmp_path.rglob("*.map")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Mistake, match="does not open"):
        list(entries(tmp_path, PASSPHRASE.encode()))
    path.write_bytes(b"something else")
    with pytest.raises(Failure, match="no re-identification map"):
        list(entries(tmp_path, PASSPHRASE.encode()))
    with pytest.raises(Mistake, match="has no re-identification map"):
        list(entries(tmp_path / "elsewhere", PASSPHRASE.encode()))


def test_a_pseudonym_of_two_values_is_not_restored() -> None:
    pairs = [Entry("name", "Berg", "Schmidt"), Entry("name", "Berg", "Meier"), Entry("name", "Anna Berg", "Eva Kunz")]
    assert restore("Anna Berg and Berg, Bergs", pairs) == "Eva Kunz and Berg, Bergs"


def test_a_map_without_pseudonyms_is_the_users_mistake(tmp_path: Path, keys: None) -> None:
    with pytest.raises(Mistake, match="needs pseudonyms"):
        made(tmp_path, reidentification=True)


def test_a_step_that_would_leave_nothing_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="leaves no document"):
        made(tmp_path, action="drop", texts=("a@b.de", "c@d.de"))


def test_kinds_that_were_not_asked_for_stay(tmp_path: Path) -> None:
    documents = rows(made(tmp_path, kinds=("card",)))
    assert documents[0].text == TEXTS[0].replace("4111 1111 1111 1111", "[CARD]") and documents[3].text == TEXTS[3]


def test_own_words_and_patterns_are_replaced(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# names of projects\nNightjar\n\n", encoding="utf-8-sig")
    documents = rows(made(tmp_path / "runs", words=LocalPath(words), patterns={"tree": "tre+s"}, kinds=("word",)))
    assert documents[1].text == "Nothing personal in this text about [WORD]."
    assert documents[3].text.endswith("again about [WORD].")


def test_a_pattern_or_word_list_that_cannot_be_used_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        Anonymise(corpus=Letters(), patterns={"bad": "("})
    (tmp_path / "words.bin").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(Mistake, match="cannot be read"):
        made(tmp_path / "runs", words=LocalPath(tmp_path / "words.bin"))


def batch(*texts: str) -> pa.RecordBatch:
    documents = [new_document(f"{number}.txt", text)._asdict() for number, text in enumerate(texts)]
    return pa.RecordBatch.from_pylist(documents, pa.schema([(name, pa.string()) for name in Documents.columns]))


MASKING = Anonymisation(Wanted(), dict.fromkeys(("email", "name", "card"), "mask"), ("text",))


def test_a_document_that_cannot_be_looked_at_is_left_out_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Finder.__call__

    def stumbles(self: Finder, column: pa.Array) -> Any:
        if any("poison" in text for text in column.to_pylist()):
            raise RuntimeError("over poison a@b.de")
        return whole(self, column)

    monkeypatch.setattr(Finder, "__call__", stumbles)
    result = MASKING(batch("mail a@b.de", "poison a@b.de", "no one"))
    assert result.column("text").to_pylist() == ["mail [EMAIL]", "poison a@b.de", "no one"]
    assert result.column("reason").to_pylist() == [None, f"{FAILED} (RuntimeError)", None]
    assert "a@b.de" not in repr(result.column("notes").to_pylist())


def test_the_operator_is_small_pure_and_says_no_word_of_the_list() -> None:
    operator = Anonymisation(Wanted(words=("Nightjar",)), {"word": "mask", "email": "mask"}, ("text",))
    data = pickle.dumps(operator)
    again = pickle.loads(data)
    assert len(data) < 2000 and again == operator and "Nightjar" not in repr(operator)
    some = batch("Nightjar is a@b.de")
    assert again(some).equals(operator(some)) and some.column("text").to_pylist() == ["Nightjar is a@b.de"]


def test_a_batch_of_nothing_and_of_nulls_comes_back(tmp_path: Path) -> None:
    assert MASKING(batch()).num_rows == 0
    nothing = batch("a").set_column(1, "text", pa.array([None], pa.string()))
    assert MASKING(nothing).column("text").to_pylist() == [None]


@pytest.mark.parametrize(
    ("value", "looks"),
    [
        ("anna.schmidt@firma.de", "xxx.xxx@xxx.xx"),
        ("Anna Schmidt", "Xxxx Xxxx"),
        ("4111 1111 1111 1111", "999 999 999 999"),
        ("王小明", "字字字"),
        ("a" * 500, "xxx"),
        ("aB" * 100, "xX" * 20 + "…"),
    ],
)
def test_a_shape_tells_letters_from_digits_and_no_more(value: str, looks: str) -> None:
    assert shape(value) == looks
