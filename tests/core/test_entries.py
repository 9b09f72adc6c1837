from __future__ import annotations

from metier.core.entries import Entry, entries, predicate


def found(text: str, title: str = "Manual") -> list[Entry]:
    return list(entries(text, title))


def test_a_bold_call_with_text_below_is_a_function() -> None:
    assert Entry("function", "abs(X)", "Returns the absolute value.") in found(
        "**abs(X)**\n\nReturns the absolute value."
    )


def test_several_forms_of_a_function_go_by_the_first() -> None:
    assert found("**round(X)\nround(X,Y)**\n\nRounds.")[0].name == "round(X)"


def test_a_pragma_heading_is_a_definition_of_its_own_kind() -> None:
    text = "**PRAGMA schema.cache_size;\nPRAGMA cache_size = pages;**\n\nSets the size."
    assert Entry("definition", "PRAGMA cache_size", "Sets the size.", "pragma") in found(text)


def test_numbers_of_headings_are_no_part_of_their_name() -> None:
    assert [
        (e.kind, e.name) for e in found("### (14) SQLITE_CANTOPEN\n\nText one.\n\n# 2.1. File Format\n\nText two.")
    ][:3] == [
        ("definition", "SQLITE_CANTOPEN"),
        ("document", "Manual"),
        ("section", "File Format"),
    ]


def test_listed_questions_and_table_rows_and_items_are_entries() -> None:
    text = """**(3) Is it fast?**

Yes, it is.

| Opcode | Description |
| --- | --- |
| OP_Add | Add register one to register two. |

- **WAL** → A log that is written ahead.
"""
    kinds = [(entry.kind, entry.name) for entry in found(text)]
    assert ("question", "Is it fast?") in kinds
    assert ("definition", "OP_Add") in kinds
    assert ("definition", "WAL") in kinds


def test_a_sentence_that_says_what_its_subject_is_makes_an_entry() -> None:
    entry = found("Intro text here.\n\nThe sqlite3_free(P) routine releases memory at P.")[-1]
    assert entry == Entry("function", "sqlite3_free(P)", "The sqlite3_free(P) routine releases memory at P.", "routine")
    assert predicate("The sqlite3_free(P) routine releases memory.") == (
        "The sqlite3_free(P) routine",
        "releases memory.",
    )
    assert predicate("Memory is released.") is None


def test_a_page_that_declares_one_function_says_what_it_does() -> None:
    text = "```\nint sqlite3_step(sqlite3_stmt*);\n```\n\nThis routine runs a statement."
    assert Entry("function", "sqlite3_step()", "This routine runs a statement.") in found(text)


def test_code_is_never_an_entry() -> None:
    assert found("```\n**abs(X)**\n\ntext below\n```") == []
