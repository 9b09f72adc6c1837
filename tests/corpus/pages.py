"""Small pages and corpora that the tests of this room share."""

from __future__ import annotations

import random
import re
from pathlib import Path

from metier.core import Artifact, LocalPath, Workshop
from metier.core.types import Document
from metier.corpus import Dedup, Filter, Normalise, Read, Split
from metier.corpus.documents import new_document

WORDS = re.findall(
    r"\w+",
    "table index page journal cursor schema trigger column value query lock cache transaction statement record file "
    "byte header cell tree offset commit rollback reader writer thread process memory buffer checksum frame key",
)


def page(title: str, body: str, number: int = 0) -> str:
    """Return a web page with a menu, a search box and a footer around `body`."""
    return f"""<!DOCTYPE html><html><head><title>{title}</title><style>p {{color: red}}</style></head><body>
<div class="menu mainmenu"><ul><li><a href="index.html">Home</a><li><a href="buy.html">Purchase</a></ul></div>
<form action="search"><input name="q"><button>Search</button></form><script>var secret = 1;</script>
<h1>{title}</h1>
{body}
<hr><p><i>This page was last changed on 2024-01-{number % 28 + 1:02d}</i></p></body></html>"""


def prose(seed: int, words: int = 120) -> str:
    """Return sentences of random words: no two seeds share a run of five."""
    rng = random.Random(seed)
    out = []
    for at in range(words):
        word = rng.choice(WORDS) + (str(rng.randrange(100)) if rng.random() < 0.2 else "")
        out.append(word.capitalize() if at % 12 == 0 else word + ("." if at % 12 == 11 else ""))
    return " ".join(out).rstrip(".") + "."


def documents(texts: list[str]) -> list[Document]:
    """Return documents with the given texts."""
    return [new_document(f"{number:03d}.txt", text, f"Document {number}") for number, text in enumerate(texts)]


def chain(folder: Path, at_least: int = 2) -> dict[str, Read | Normalise | Filter | Dedup | Split]:
    """Return the steps from a folder to split documents."""
    read = Read(folder=LocalPath(folder))
    normalise = Normalise(corpus=read, boilerplate_at_least=5)
    filtered = Filter(corpus=normalise)
    unique = Dedup(corpus=filtered)
    split = Split(corpus=unique, at_least=at_least)
    return {"read": read, "normalise": normalise, "filter": filtered, "dedup": unique, "split": split}


def make(workshop: Workshop, steps: dict[str, Read | Normalise | Filter | Dedup | Split]) -> dict[str, Artifact]:
    """Make every step and return the artifacts by name."""
    return {name: workshop.make(step) for name, step in steps.items()}
