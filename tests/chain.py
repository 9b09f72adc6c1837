"""The demo's recipe on a small corpus and a tiny model: the same steps, seconds instead of minutes."""

from __future__ import annotations

import json
import random
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

_NOUNS = [
    "index",
    "table",
    "trigger",
    "view",
    "cursor",
    "page",
    "journal",
    "lock",
    "key",
    "row",
    "column",
    "schema",
    "engine",
    "buffer",
    "cache",
    "log",
]
_VERBS = ["stores", "updates", "reads", "writes", "removes", "sorts", "checks", "holds", "opens", "closes"]

DOCUMENTS, COPIES = 40, 5


def _sentences(count: int, rng: random.Random) -> str:
    def noun() -> str:
        return f"{rng.choice(_NOUNS)}{rng.randint(0, 999)}"  # or all documents would say the same

    return " ".join(
        f"The {noun()} {rng.choice(_VERBS)} every {noun()} of the {noun()} {rng.randint(1, 99)} before it closes."
        for _ in range(count)
    )


def write_corpus(folder: Path, rng: random.Random) -> None:
    """Write pages with planted copies, an empty page, one with damaged bytes and a binary file."""
    folder.mkdir()
    for number in range(DOCUMENTS):
        name = f"{rng.choice(_NOUNS)}_{number}"
        page = (
            f"<html><head><title>{name}</title></head><body><nav>Home | Search</nav><h1>The {name} statement</h1>"
            f"<p>The {name} statement says what {name} holds. {_sentences(6, rng)}</p><h2>How {name} works</h2>"
            f"<p>{_sentences(6, rng)}</p><pre>SELECT {number} FROM {name};</pre></body></html>"
        )
        (folder / f"page{number:02}.html").write_text(page)
        if number < COPIES:
            (folder / f"copy{number:02}.html").write_text(page)
    (folder / "empty.html").write_text("")
    (folder / "damaged.html").write_bytes(b"<p>caf\xe9 \xff\xfe</p>")
    (folder / "picture.dat").write_bytes(bytes(range(256)) * 10)


def short_recipe(folder: Path) -> dict[str, Any]:
    """Write the material into `folder` and return the demo's recipe, made small, as its YAML would load."""
    rng = random.Random(0)
    write_corpus(folder / "pages", rng)
    for name in ("replay", "general"):
        rows = [{"text": "Once there was a town. " + _sentences(4, rng).replace("The", "A")} for _ in range(30)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe: dict[str, Any] = yaml.safe_load((resources.files("metier") / "recipes" / "sqlite.yaml").read_text())
    recipe["pages"]["folder"] = "pages"
    recipe["replay"]["file"], recipe["general"]["file"] = "replay.jsonl", "general.jsonl"
    recipe["origin"] = {"step": "tiny-model"}
    recipe["corpus"]["held_out"] = 0.3
    recipe["cpt"]["tokens"] = 4000
    recipe["tasks"] |= {"train_schemas": 4, "held_out_schemas": 2, "tasks_per_split": 4}
    recipe["rehearsal"] |= {"prompts": 4, "max_tokens": 8}
    recipe["pairs"] |= {"prompts_limit": 6, "use_reference": True}
    recipe["fresh"] |= {"train_schemas": 2, "held_out_schemas": 2, "tasks_per_split": 4}
    recipe["exam"] |= {
        "characters": 2000,
        "general_characters": 1000,
        "choices": 6,
        "executed_per_split": 2,
        "prose_per_split": 2,
        "general_prompts": 2,
        "max_tokens": 8,
    }
    return recipe
