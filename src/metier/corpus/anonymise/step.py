"""The step that takes personal and secret data out of a corpus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.files import write_json_atomic
from metier.core.types import Documents
from metier.corpus.anonymise.kinds import KINDS, LANGUAGES, Action, Column, Kind, Language

if TYPE_CHECKING:
    from metier.corpus.anonymise.operator import Anonymisation, KeyPlace

AUDIT = "audit.json"
_KEYS = "keys.json"


class Anonymise(Step[Documents]):
    """Replace names, telephone numbers, addresses, identity numbers, cards, passwords and keys, or leave documents out.

    `mask` puts a tag ([EMAIL]); `pseudonym` a stand-in of the same kind and form, for one value always the same, that
    belongs to no one and cannot be worked out without the key; `drop` leaves the document out. `audit.json` says what
    was found, by kind, source and action, and shows no value. Names without any word that speaks of them are found only
    where they are common ones; a tagger finds more.
    """

    name: ClassVar[str] = "anonymise"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    corpus: Step[Documents] = Field(description="The documents.")
    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1, description="What to look for; `id` is every national number.")
    action: Action = Field("mask", description="What to do with what is found: mask, pseudonym or drop.")
    actions: dict[Kind, Action] = Field(default_factory=dict, description="Another action for some kinds.")
    languages: tuple[Language, ...] = Field(
        LANGUAGES, min_length=1, description="Languages of names, addresses and national numbers."
    )
    patterns: dict[str, str] = Field(
        default_factory=dict, description="Own regular expressions (Python), by name; found as kind `word`."
    )
    words: LocalPath | None = Field(None, description="A file of own words to find, one a line; kind `word`.")
    columns: tuple[Column, ...] = Field(("text", "title"), min_length=1, description="Columns to look into.")
    tagger: str | None = Field(
        None, description="A model for names in running text: spacy:MODEL, presidio or lac, where installed."
    )
    key_variable: str = Field("METIER_PSEUDONYM_KEY", description="Environment variable with the key of pseudonyms.")
    key_file: str | None = Field(None, description="A file with that key instead; the same on every machine.")
    reidentification: bool = Field(False, description="Write an encrypted map from pseudonyms back to values.")
    passphrase_variable: str = Field(
        "METIER_MAP_PASSPHRASE", description="Environment variable with the passphrase of that map."
    )

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"the pattern '{name}' is no regular expression: {error}") from None
        return patterns

    def run(self, work: Work) -> None:
        """Write the documents without what was found, and the audit."""
        from metier.corpus.anonymise.audit import audit
        from metier.corpus.anonymise.finder import Finder
        from metier.corpus.engine import apply

        operator = self._operator(work)
        Finder(operator.wanted)  # a missing tagger is said before anything starts
        totals = apply(work, work.made(self.corpus), operator, "anonymising")
        if totals.came and not totals.kept:
            raise Mistake(
                "anonymisation leaves no document",
                found="; ".join(f"{count} documents: {reason}" for reason, count in totals.dropped.most_common(4)),
                hint="use mask or pseudonym instead of drop",
            )
        report = audit(totals.notes, totals.came, totals.dropped)
        write_json_atomic(work.folder / AUDIT, report)
        work.figure("found", {label: entry["count"] for label, entry in report["found"].items()})
        if operator.key is not None:
            work.figure("key_check", operator.key.check)
        work.count(
            "document",
            totals.came,
            totals.kept,
            totals.dropped,
            source="corpus",
            made={"document": totals.kept},
        )

    def _operator(self, work: Work) -> Anonymisation:
        from metier.corpus.anonymise.finder import Wanted
        from metier.corpus.anonymise.operator import Anonymisation, Reidentification

        actions: dict[Kind, Action] = {kind: self.actions.get(kind, self.action) for kind in KINDS}
        kinds = tuple(kind for kind in KINDS if kind in self.kinds)
        wanted = Wanted(
            kinds=kinds,
            languages=tuple(language for language in LANGUAGES if language in self.languages),
            words=_words(self.words) if "word" in kinds else (),
            patterns=tuple(self.patterns.values()) if "word" in kinds else (),
            tagger=self.tagger if "name" in kinds else None,
        )
        uses_key = any(actions[kind] == "pseudonym" for kind in kinds)
        if self.reidentification and not uses_key:
            raise Mistake(
                "a re-identification map needs pseudonyms",
                found="no kind has the action 'pseudonym'",
                hint="set action: pseudonym, or leave out reidentification",
            )
        key = _place(self.key_variable, self.key_file) if uses_key else None
        passphrase = _place(self.passphrase_variable, None) if self.reidentification else None
        salt = _remembered(work.folder, key, passphrase)
        place = Reidentification(work.folder.absolute(), passphrase, salt) if passphrase is not None else None
        return Anonymisation(wanted, actions, tuple(dict.fromkeys(self.columns)), key, place)


def _place(variable: str, file: str | None) -> KeyPlace:
    from metier.corpus.anonymise.keys import key_check, read_key
    from metier.corpus.anonymise.operator import KeyPlace

    path = str(Path(file).expanduser().absolute()) if file is not None else None
    return KeyPlace(variable, path, key_check(read_key(variable, path)))


def _remembered(folder: Path, key: KeyPlace | None, passphrase: KeyPlace | None) -> bytes:
    """Keep the checks of the keys, so that an attempt that goes on uses the same; return the salt of the map."""
    from metier.corpus.anonymise.reidentify import new_salt

    path = folder / _KEYS
    now = {"key": key.check if key else None, "passphrase": passphrase.check if passphrase else None}
    if path.is_file():
        before = json.loads(path.read_text())
        for what, check in now.items():
            if before[what] != check:
                raise Mistake(
                    f"the {what} is another than the one this work was begun with",
                    hint=f"set the first {what} again, or remove {folder} and start afresh",
                )
        return bytes.fromhex(before["salt"])
    salt = new_salt()
    if not any(now.values()):
        return salt
    write_json_atomic(path, now | {"salt": salt.hex()})
    return salt


def _words(path: LocalPath | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(
            f"the word list {path.written} cannot be read",
            found=type(error).__name__,
            hint="a text file in UTF-8 with one word or name a line",
        ) from None
    words = dict.fromkeys(line.strip() for line in lines)
    return tuple(word for word in words if word and not word.startswith("# "))
