"""What each kind of file gives, and how it is known for what it is."""

from __future__ import annotations

import json

import pytest

from metier.corpus.read.kinds import recognise
from metier.corpus.read.licences import identify, is_license_file
from tests.corpus.reading import locked_pdf, pdf, read

CODE = "def f(x):\r\n\tif x < 3:\r\n\t    return '\u4e2d'  \r\n\r\n\r\n"
LATEX = "% a comment\r\n\\title{On \\emph{Locks} \\\\ and Keys}\n\\begin{verbatim}\n\tx   <- 3\n\\end{verbatim}\n"
MARKDOWN = "---\ntitle: Locks\n---\n\n```python\nx  = 1\t\n```\n\n| a | b |\n|--|--|\n"


@pytest.mark.parametrize(
    ("name", "text", "title", "media_type", "language"),
    [
        ("src/lock.py", CODE, "lock.py", "text/x-python", "python"),
        ("a/Makefile", "all:\n\techo hi  \n", "Makefile", "text/x-makefile", "makefile"),
        ("run", "#!/usr/bin/env -S bash -e\n\necho  1\n", "run", "text/x-bash", "bash"),
        ("tool", "#!/usr/bin/python3.11\nprint(1)\n", "tool", "text/x-python", "python"),
        ("paper.tex", LATEX, "On Locks and Keys", "text/x-tex", None),
        ("notes.md", MARKDOWN, "Locks", "text/markdown", None),
        ("the_notes.txt", "  two  spaces \r\n", "the notes", "text/plain", None),
        ("README", "Read me.\n", "README", "text/plain", None),
        ("data.json", '{"a":   1}\n', "data.json", "application/json", "json"),
        ("page.4", ".TH LOCK 4\n.SH NAME\n", "page", "text/troff", None),
    ],
)
def test_text_code_markdown_and_latex_stay_as_they_are_to_the_byte(
    name: str, text: str, title: str, media_type: str, language: str | None
) -> None:
    found = read(name, text.encode()).only
    assert found.text.encode() == text.encode()
    assert (found.title, found.media_type, found.language) == (title, media_type, language)


@pytest.mark.parametrize(
    ("name", "head", "reader"),
    [
        ("page.txt", b"%PDF-1.7\n", "pdf"),
        ("report.bin", b"PK\x03\x04" + b"\0" * 22 + b"[Content_Types].xml word/document.xml", "docx"),
        ("data.dat", b"PAR1", "parquet"),
        ("letter", b"Return-Path: <a@b.c>\nReceived: x\n", "mail"),
        ("inbox", b"From a@b.c Mon Jan  1 10:00:00 2024\nSubject: x\n", "mbox"),
        ("download", b"<!-- saved -->\n<!DOCTYPE html>\n<html>", "html"),
        ("backup.gz", b"plain text after all", "text"),
        ("archive.tar.gz", b"\x1f\x8b\x08", "gz"),
        ("server.log.3", b"2024-01-01 10:00:00 started", "log"),
        ("photo.txt", b"\x89PNG\r\n\x1a\n", "foreign"),
        ("song.txt", b"RIFF raff, said the crow", "text"),
        ("x.pyw", b"MZ is a name", "code"),
    ],
)
def test_a_file_is_known_by_how_it_begins_then_by_its_name(name: str, head: bytes, reader: str) -> None:
    assert recognise(name, head).reader == reader


def test_what_a_server_claims_counts_unless_the_content_objects() -> None:
    assert recognise("index.php", b"<p>x", "text/html").reader == "html"
    assert recognise("index.php", b"%PDF-1.4", "text/html").reader == "pdf"


def test_a_pdf_gives_its_text_whole_or_by_pages() -> None:
    lines = ["A lock keeps two writers of a file", "apart from each other.", "End."]
    found = read("the_manual.pdf", pdf(lines)).only
    assert found.title == "the manual" and found.media_type == "application/pdf"
    assert found.text == "A lock keeps two writers of a file apart from each other.\n\nEnd."
    pages = read("the_manual.pdf", pdf(lines, pages=3), split_pages=True).contents
    assert [page.part for page in pages] == ["page 1", "page 2", "page 3"] and pages[2].text == found.text


@pytest.mark.parametrize(
    ("data", "reason"),
    [(pdf([]), "PDF without text"), (b"%PDF-1.4 cut", "unreadable PDF"), (locked_pdf(), "locked by a password")],
)
def test_a_pdf_that_gives_nothing_has_its_reason(data: bytes, reason: str) -> None:
    assert list(read("a.pdf", data).reasons.values()) == [reason]


def test_a_notebook_keeps_prose_code_and_what_was_printed() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Locks\n", "Prose."]},
        {
            "cell_type": "code",
            "source": "x = 1\nx < 2",
            "outputs": [{"text": ["True\n"]}, {"data": {"image/png": "…"}}],
        },
    ]
    found = read("a.ipynb", json.dumps({"cells": cells, "metadata": {}}).encode()).only
    assert found.text == "# Locks\nProse.\n\n```python\nx = 1\nx < 2\n```\n\n```\nTrue\n```" and found.title == "Locks"
    assert list(read("b.ipynb", b'{"cells": 3}').reasons.values()) == ["damaged notebook"]


def test_a_long_log_is_cut_between_two_entries() -> None:
    entries = [f"2024-01-01 10:00:00 {'x' * 200} {number}\n  at frame\n" for number in range(6000)]
    found = read("app.log", "".join(entries).encode())
    assert len(found.contents) == 2
    assert "".join(content.text for content in found.contents) == "".join(entries)
    assert all(content.text.startswith("2024") for content in found.contents)
    first, second = (content.part.removeprefix("lines ").split("-") for content in found.contents)
    assert first[0] == "1" and int(second[0]) == int(first[1]) + 1 and second[1] == "12000"


def test_a_short_log_is_one_document_and_a_line_of_megabytes_is_left_out_alone() -> None:
    assert read("app.log", b"INFO a\nINFO b\n").only.part == ""
    found = read("app.log", b"INFO a\n" + b"x" * 2_000_000 + b"\nINFO b\n")
    assert found.texts == {"app.log lines 1-3": "INFO a\nINFO b\n"}
    assert found.reasons == {"app.log line 2": "larger than the limit"}


@pytest.mark.parametrize("text", ["x" * 50_000_000, "é" * 2_000_000])
def test_fifty_million_characters_without_a_space_are_no_text(text: str) -> None:
    assert list(read("a.txt", text.encode()).reasons.values()) == ["too long without white space"]


def test_how_long_without_white_space_is_settable() -> None:
    long = "x" * 2_000_000
    assert read("a.txt", long.encode(), max_unbroken=None).only.text == long
    spaced = ("word " * 99 + "\n") * 5000
    assert read("a.txt", spaced.encode(), max_unbroken=1000).only.text == spaced


def test_a_file_over_the_limit_and_an_empty_one_have_their_reasons() -> None:
    assert list(read("a.txt", b"x" * 2000, max_bytes=1000).reasons.values()) == ["larger than the limit"]
    assert list(read("a.py", b"").reasons.values()) == ["empty file"]
    assert list(read("a.py", b" \n ").reasons.values()) == ["no text in it"]


def test_a_wrong_suffix_is_found_out() -> None:
    found = read("notes.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert list(found.reasons.values()) == ["binary file"] and found.items[0].found.detail == "PNG image"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("Apache License\nVersion 2.0, January 2004", "Apache-2.0"),
        ("Permission is hereby granted, free of charge, to any person obtaining\na copy of this software", "MIT"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "GPL-3.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999 ... GNU General Public License", "LGPL-2.1"),
        (
            "Redistribution and use in source and binary forms, with or without modification, are permitted. "
            "Neither the name of the copyright holder",
            "BSD-3-Clause",
        ),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "CC-BY-SA-4.0"),
        ("SPDX-License-Identifier: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("All rights reserved.", None),
    ],
)
def test_a_licence_is_known_by_its_text(text: str, license: str | None) -> None:
    assert identify(text) == license


def test_a_header_states_the_licence_before_the_folder_does() -> None:
    source = b"// SPDX-License-Identifier: GPL-2.0-only WITH Classpath-exception-2.0\nint x;\n"
    assert read("a.c", source, license="MIT").only.license == "GPL-2.0-only WITH Classpath-exception-2.0"
    assert read("a.c", b"int x;\n", license="MIT").only.license == "MIT"
    assert [is_license_file(n) for n in ("LICENSE", "COPYING.LESSER", "license-mit.txt", "licenses.py")] == [
        True,
        True,
        True,
        False,
    ]
