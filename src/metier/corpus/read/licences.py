"""Licences as SPDX identifiers: from a header in a source file, or from the text of a LICENSE file."""

from __future__ import annotations

import re

# What names a licence file, after GitHub's licensee: LICENSE, LICENCE.md, COPYING.LESSER, UNLICENSE, MIT-LICENSE.txt.
_FILE = re.compile(
    r"(?:(?:mit-|apache-|bsd-)?licen[cs]e(?:[-.][\w.+-]+)?|copying(?:[-.][\w.+-]+)?|unlicense)"
    r"(?:\.(?:txt|md|rst))?",
    re.IGNORECASE,
)
_TAG = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+()-]+(?:\s+(?:AND|OR|WITH)\s+[A-Za-z0-9.+()-]+)*)")
_HEAD = 4096
MAX_BYTES = 200_000
"""A licence file is not longer than this."""

# Sentences that only the licence has. The GNU family is told by its titles, in the order of the most special.
_SENTENCES: tuple[tuple[str, str], ...] = (
    ("apache license version 2.0", "Apache-2.0"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("mozilla public license, version 2.0", "MPL-2.0"),
    ("eclipse public license - v 2.0", "EPL-2.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("attribution-noncommercial-sharealike 4.0", "CC-BY-NC-SA-4.0"),
    ("attribution-noncommercial-noderivatives 4.0", "CC-BY-NC-ND-4.0"),
    ("attribution-noncommercial 4.0", "CC-BY-NC-4.0"),
    ("attribution-noderivatives 4.0", "CC-BY-ND-4.0"),
    ("attribution-sharealike 4.0", "CC-BY-SA-4.0"),
    ("attribution-sharealike 3.0", "CC-BY-SA-3.0"),
    ("attribution 4.0 international", "CC-BY-4.0"),
    ("the artistic license 2.0", "Artistic-2.0"),
    ("python software foundation license version 2", "PSF-2.0"),
    ("do what the fuck you want to public license", "WTFPL"),
)
_GNU = (
    ("gnu affero general public license", "AGPL", ("3",)),
    ("gnu lesser general public license", "LGPL", ("3", "2.1")),
    ("gnu library general public license", "LGPL", ("2",)),
    ("gnu general public license", "GPL", ("3", "2")),
    ("gnu free documentation license", "GFDL", ("1.3", "1.2", "1.1")),
)


def is_license_file(name: str) -> bool:
    """Say whether a file's name is that of a licence."""
    return _FILE.fullmatch(name) is not None


def spdx_tag(text: str) -> str | None:
    """Return the licence that a source file's header states, or None."""
    found = _TAG.search(text[:_HEAD])
    return found.group(1) if found is not None else None


def identify(text: str) -> str | None:
    """Return the SPDX identifier of a licence's text, or None if it is none of those known.

    A GNU licence's text does not say whether "any later version" is meant, so its identifier here does not either.
    """
    tag = spdx_tag(text)
    if tag is not None:
        return tag
    said = " ".join(re.sub(r"[\"'`*_#=“”‘’]", "", text).lower().split())
    gnu = _gnu(said[:600])
    if gnu is not None:
        return gnu
    for sentence, identifier in _SENTENCES:
        if sentence in said[:1000] or (len(sentence) > 60 and sentence in said):
            return identifier
    return _permissive(said)


def together(licenses: list[str]) -> str | None:
    """Return the licence of a folder with several: all of them, because nothing says that one may choose."""
    found = sorted(set(licenses))
    if len(found) < 2:
        return found[0] if found else None
    return " AND ".join(f"({one})" if " " in one else one for one in found)


def _gnu(beginning: str) -> str | None:
    named = [(beginning.find(title), family, versions) for title, family, versions in _GNU if title in beginning]
    if not named:
        return None
    _, family, versions = min(named)
    for version in versions:
        if re.search(rf"version {re.escape(version)}\b", beginning):
            return f"{family}-{version if '.' in version else version + '.0'}"
    return None


def _permissive(said: str) -> str | None:
    if "permission is hereby granted, free of charge, to any person obtaining a copy of this software" in said:
        return "MIT"
    if "redistribution and use in source and binary forms, with or without modification, are permitted" in said:
        if "all advertising materials" in said:
            return "BSD-4-Clause"
        return (
            "BSD-3-Clause" if re.search(r"neither the names? of|may not be used to endorse", said) else "BSD-2-Clause"
        )
    if (
        "permission to use, copy, modify, and" in said
        and "for any purpose with or without fee is hereby granted" in said
    ):
        return "ISC" if "provided that the above copyright notice" in said else "0BSD"
    if "altered source versions must be plainly marked as such" in said:
        return "Zlib"
    return None
