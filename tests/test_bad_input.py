"""Bad input and bad machines: a clear message, exit code 2, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGES = "pages: {step: read, folder: docs}\n"


def metier(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metier.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in ("error:", *words):
        assert word in ended.stderr, ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "metier.yaml").write_text(PAGES)
    return tmp_path


def page(number: int) -> str:
    return f"<h1>Page {number}</h1><p>{' '.join(f'word{number}x{index}' for index in range(200))}.</p>"


def test_an_empty_folder_is_refused(folder: Path) -> None:
    refused(metier("run", "-r", folder), "hint:")


def test_a_folder_of_binary_files_is_refused(folder: Path) -> None:
    for number in range(3):
        (folder / "docs" / f"{number}.bin").write_bytes(bytes(range(256)) * 100)
    refused(metier("run", "-r", folder), "hint:")


def test_an_empty_and_a_damaged_page_stand_in_the_ledger_and_the_rest_is_read(folder: Path) -> None:
    (folder / "docs" / "good.html").write_text(page(1))
    (folder / "docs" / "empty.html").write_bytes(b"")
    (folder / "docs" / "damaged.html").write_bytes(b"<p>caf\xe9 \xff\xfe\x00</p>")
    assert metier("run", "-r", folder).returncode == 0
    shown = metier("show", "pages", "-r", folder).stdout
    assert "3 files came" in shown and "1 empty" in shown


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("pages: {step: read, foldr: docs}", ("unknown key 'foldr'", "did you mean 'folder'?")),
        ("a: {step: normalise, corpus: $b}\nb: {step: normalise, corpus: $a}", ("circle", "a → b → a")),
        ("a: {step: normalise, corpus: $nothing}", ("refers to $nothing",)),
        ("a: {step: read, folder: nowhere}", ("does not exist",)),
    ],
)
def test_a_wrong_recipe_is_refused(folder: Path, recipe: str, words: tuple[str, ...]) -> None:
    (folder / "metier.yaml").write_text(recipe)
    refused(metier("run", "-r", folder), *words)


def test_a_model_folder_without_a_tokenizer_is_refused(folder: Path, tiny_model_folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    for path in tiny_model_folder.iterdir():
        if "token" not in path.name:
            (model / path.name).write_bytes(path.read_bytes())
    (folder / "metier.yaml").write_text("base: {step: local-model, folder: model}")
    refused(metier("run", "-r", folder), "tokenizer")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB in memory; needs the right to mount."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_what_was_finished_is_kept(folder: Path, small_disk: Path) -> None:
    for number in range(4):
        (folder / "docs" / f"{number}.html").write_text(page(number))
    recipe = folder / "metier.yaml"
    assert metier("run", recipe, "-w", small_disk).returncode == 0
    finished = sorted(path.name for path in small_disk.iterdir())
    (small_disk / "filler").write_bytes(b"x" * (small_disk_free(small_disk) - 4096))
    recipe.write_text(PAGES + "clean: {step: normalise, corpus: $pages}\n")
    refused(metier("run", recipe, "-w", small_disk), "disk is full", "hint:")
    assert set(finished) <= {path.name for path in small_disk.iterdir()}
    (small_disk / "filler").unlink()
    assert metier("run", recipe, "-w", small_disk).returncode == 0


def small_disk_free(place: Path) -> int:
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize


def test_a_read_only_workshop_is_refused(folder: Path, small_disk: Path) -> None:
    (folder / "docs" / "good.html").write_text(page(1))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(metier("run", folder / "metier.yaml", "-w", small_disk), "hint:")
