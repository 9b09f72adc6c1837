"""E-mail: headers, bodies, attachments, mailboxes."""

from __future__ import annotations

from email.message import EmailMessage

from metier.corpus.read.found import Content
from tests.corpus.reading import docx, paragraph, read


def message(text: str | None = "Hello.\n> quoted\n", subject: str = "Grüße aus Köln") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ann <ann@a.example>", "bob@b.example", subject
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    if text is not None:
        mail.set_content(text)
    return mail


def test_headers_are_title_and_lines_and_quotations_stay() -> None:
    found = read("a.eml", message().as_bytes()).only
    assert found.title == "Grüße aus Köln" and found.media_type == "message/rfc822"
    assert found.text == (
        "From: Ann <ann@a.example>\nTo: bob@b.example\nDate: Mon, 01 Jan 2024 10:00:00 +0000\n"
        "Subject: Grüße aus Köln\n\nHello.\n> quoted"
    )


def test_a_body_in_html_becomes_markdown_with_its_quotation_and_its_table() -> None:
    mail = message(None)
    table = "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>"
    mail.set_content(
        f"<p>New <b>rates</b>:</p>{table}<blockquote><p>What are the rates?</p></blockquote>", subtype="html"
    )
    text = read("a.eml", mail.as_bytes()).only.text
    assert "New **rates**:" in text and "| 1 | 2 |" in text and "> What are the rates?" in text


def test_of_two_forms_of_a_body_the_plain_one_is_taken() -> None:
    mail = message("Plain.")
    mail.add_alternative("<p>Rich.</p>", subtype="html")
    text = read("a.eml", mail.as_bytes()).only.text
    assert text.endswith("Plain.") and "Rich" not in text


def test_attachments_are_read_by_the_reader_of_their_kind() -> None:
    mail = message("See the files.")
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    for data, kind, name in (
        (docx(paragraph("Rates", "H1")), word, "Übersicht.docx"),
        (b"a,text\n1,first\n", "text/csv", "../../rows.csv"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "logo.png"),
        (b"\x7fELF" + b"\0" * 20, "application/octet-stream", "tool"),
    ):
        mail.add_attachment(data, maintype=kind.split("/")[0], subtype=kind.split("/")[1], filename=name)
    found = read("a.eml", mail.as_bytes())
    assert found.texts["a.eml!/Übersicht.docx"] == "# Rates"
    assert found.texts["a.eml!/rows.csv row 1"] == "first"
    assert found.reasons == {"a.eml!/tool": "binary file"}


def test_a_forwarded_message_is_an_attachment() -> None:
    mail = message("Forwarded.")
    mail.add_attachment(message("Inner.", "Inner subject"))
    found = read("a.eml", mail.as_bytes())
    assert [content.title for content in found.contents] == ["Grüße aus Köln", "Inner subject"]


def test_a_mailbox_gives_each_message_and_unquotes_its_from_lines() -> None:
    box = b""
    for number in range(3):
        text = f"Body {number}.\nFrom now on\n\n>From the start\n"
        box += b"From ann@a.example Mon Jan  1 10:00:00 2024\n" + message(text, f"S{number}").as_bytes() + b"\n"
    found = read("inbox.mbox", box)
    contents = [item.found for item in found.items if isinstance(item.found, Content)]
    assert [(content.part, content.title) for content in contents] == [
        ("message 1", "S0"),
        ("message 2", "S1"),
        ("message 3", "S2"),
    ]
    assert "From now on" in contents[1].text and "\nFrom the start" in contents[1].text


def test_a_message_beyond_the_limit_is_left_out_alone() -> None:
    start = b"From a@b.c Mon Jan  1 10:00:00 2024\n"
    box = (
        start
        + b"Subject: a\n\nx\n\n"
        + start
        + b"Subject: b\n\n"
        + b"y" * 5000
        + b"\n\n"
        + start
        + b"Subject: c\n\nz\n"
    )
    found = read("inbox.mbox", box, max_bytes=1000)
    assert found.reasons == {"inbox.mbox message 2": "larger than the limit"}
    assert [content.title for content in found.contents] == ["a", "c"]


def test_headers_of_real_mail_that_break_rules_break_nothing() -> None:
    raw = (
        b"From: =?gb2312?B?1cXI/Q==?= <z@x.cn>\nSubject: =?nonsense?Q?=FF?= caf\xe9 \nDate: someday\n"
        b"Content-Type: text/plain; charset=no-such\n\nBody caf\xe9\n"
    )
    found = read("a.eml", raw).only
    assert "From: 张三 <z@x.cn>" in found.text and found.text.endswith("Body café")
    assert list(read("a.eml", b"nothing like mail").reasons.values()) == ["no mail: no headers"]
