"""What the pages show exists: steps and their fields, commands and their options, and whatever they link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from metier.cli import group
from metier.core.recipe import import_rooms
from metier.core.step import STEPS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "reference" not in page.parts)


def entries(text: str) -> list[dict[str, Any]]:
    """Return the steps in the fenced YAML of a page."""
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
        told = yaml.safe_load(block)
        if isinstance(told, dict):
            found += [entry for entry in told.values() if isinstance(entry, dict) and "step" in entry]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_steps_on_a_page_exist_and_have_the_fields_that_are_shown(page: Path) -> None:
    import_rooms()
    for entry in entries(page.read_text()):
        assert entry["step"] in STEPS
        assert set(entry) - {"step"} <= set(STEPS[entry["step"]].model_fields), entry


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_a_page_exist_and_have_the_options_that_are_shown(page: Path) -> None:
    context = click.Context(group)
    for line in re.findall(r"(?:^|`)(metier [a-z][^\n`|&#]*)", page.read_text(), re.M):
        words = line.split()
        command = group.get_command(context, words[1])
        assert command is not None, line
        if isinstance(command, click.Group) and len(words) > 2:
            command = command.get_command(context, words[2]) or command
        known = {"-h", "--help", *(option for one in command.params for option in one.opts)}
        assert {word for word in words[2:] if re.match(r"--?[a-z]", word)} <= known, line
