"""What kind of thing a file is: by what it begins with where that is certain, else by its name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple


class Kind(NamedTuple):
    """Which reader takes a file, the media type of what it gives, and the programming language if it is code."""

    reader: str
    media_type: str = ""
    language: str | None = None


CONTAINERS = frozenset(("zip", "tar", "gz", "bz2", "xz", "zst"))
"""Readers of archives and compressed files: what is in them is recognised anew."""

_OFFICE = "application/vnd.openxmlformats-officedocument"
_BY_SUFFIX: dict[str, Kind] = {
    **dict.fromkeys(("html", "htm", "xhtml", "shtml"), Kind("html", "text/html")),
    **dict.fromkeys(("md", "markdown", "mdown", "mkd", "mdx", "rmd", "qmd"), Kind("markdown", "text/markdown")),
    **dict.fromkeys(("txt", "text", "asc", "nfo"), Kind("text", "text/plain")),
    **dict.fromkeys(("tex", "ltx", "latex"), Kind("latex", "text/x-tex")),
    "rst": Kind("text", "text/x-rst"),
    **dict.fromkeys(("adoc", "asciidoc"), Kind("text", "text/asciidoc")),
    "org": Kind("text", "text/org"),
    "srt": Kind("text", "application/x-subrip"),
    "vtt": Kind("text", "text/vtt"),
    "pdf": Kind("pdf", "application/pdf"),
    **dict.fromkeys(("docx", "docm", "dotx"), Kind("docx", f"{_OFFICE}.wordprocessingml.document")),
    **dict.fromkeys(("pptx", "pptm", "ppsx"), Kind("pptx", f"{_OFFICE}.presentationml.presentation")),
    **dict.fromkeys(("xlsx", "xlsm"), Kind("sheets", f"{_OFFICE}.spreadsheetml.sheet")),
    "xlsb": Kind("sheets", "application/vnd.ms-excel.sheet.binary.macroenabled.12"),
    "xls": Kind("sheets", "application/vnd.ms-excel"),
    "ods": Kind("sheets", "application/vnd.oasis.opendocument.spreadsheet"),
    "ipynb": Kind("notebook", "application/x-ipynb+json"),
    "json": Kind("json", "application/json"),
    **dict.fromkeys(("jsonl", "ndjson"), Kind("jsonl", "application/jsonl")),
    "csv": Kind("csv", "text/csv"),
    **dict.fromkeys(("tsv", "tab"), Kind("tsv", "text/tab-separated-values")),
    **dict.fromkeys(("parquet", "pq"), Kind("parquet", "application/vnd.apache.parquet")),
    "eml": Kind("mail", "message/rfc822"),
    **dict.fromkeys(("mbox", "mbx"), Kind("mbox", "application/mbox")),
    "log": Kind("log", "text/x-log"),
    "warc": Kind("warc", "application/warc"),
    **dict.fromkeys(("zip", "whl", "epub", "kmz"), Kind("zip", "application/zip")),
    "tar": Kind("tar", "application/x-tar"),
    **dict.fromkeys(("gz", "tgz"), Kind("gz", "application/gzip")),
    **dict.fromkeys(("bz2", "tbz", "tbz2"), Kind("bz2", "application/x-bzip2")),
    **dict.fromkeys(("xz", "txz"), Kind("xz", "application/x-xz")),
    **dict.fromkeys(("zst", "zstd", "tzst"), Kind("zst", "application/zstd")),
}

# Languages by suffix, after GitHub's linguist where one suffix has several.
_LANGUAGES = """
ada: adb ads ada / agda: agda / asm: asm s nasm / awk: awk / bash: bash / batch: bat cmd / c: c h / clojure: clj cljs
cljc edn / cmake: cmake / cobol: cob cbl cpy / coffeescript: coffee / common-lisp: lisp lsp cl / cpp: cc cpp cxx c++
hh hpp hxx h++ inl ipp tcc / crystal: cr / csharp: cs csx / css: css / cuda: cu cuh / cython: pyx pxd pxi / d: d /
dart: dart / diff: diff patch / elixir: ex exs / elm: elm / emacs-lisp: el / erlang: erl hrl / fortran: f f77 f90 f95
f03 f08 for / fsharp: fs fsi fsx / gettext: po pot / glsl: glsl vert frag / go: go / gradle: gradle / graphql: graphql
gql / groovy: groovy / haskell: hs lhs / hcl: tf hcl tfvars / idl: idl / ini: ini cfg conf properties desktop service
/ java: java / javascript: js mjs cjs jsx / json5: json5 / jsonnet: jsonnet libsonnet / julia: jl / kotlin: kt kts /
less: less / lua: lua / makefile: mk mak / matlab: m / mermaid: mmd / nim: nim nims / nix: nix / objective-c++: mm /
ocaml: ml mli / opencl: opencl / pascal: pas pp dpr / perl: pl pm pod / php: php phtml / plsql: pks pkb / powershell:
ps1 psm1 psd1 / prolog: pro / protobuf: proto / python: py pyi pyw / r: r / racket: rkt / ruby: rb rake gemspec /
rust: rs / sas: sas / scala: scala sc / scheme: scm ss / scss: scss sass / shell: sh zsh ksh fish / smalltalk: st /
solidity: sol / sql: sql ddl dml / stata: do ado / svelte: svelte / swift: swift / systemverilog: sv svh / tcl: tcl tk
/ tex: sty cls bib dtx ins / thrift: thrift / toml: toml / typescript: ts tsx mts cts / vala: vala / vbnet: vb vbs bas
/ verilog: v vh / vhdl: vhd vhdl / vim: vim / vue: vue / wasm-text: wat / xml: xml xsd xsl xslt wsdl dtd rng dita /
yaml: yaml yml / zig: zig
"""
_NAMES = {
    "makefile": "makefile", "gnumakefile": "makefile", "dockerfile": "dockerfile", "containerfile": "dockerfile",
    "cmakelists.txt": "cmake", "jenkinsfile": "groovy", "vagrantfile": "ruby", "rakefile": "ruby", "gemfile": "ruby",
    "build": "starlark", "workspace": "starlark", "meson.build": "meson", "sconstruct": "python",
}  # fmt: skip
_NAMED_TEXT = re.compile(r"(readme|license|licence|copying|notice|authors|changelog|changes|news|todo|install)\b", re.I)
_LOG_NAME = re.compile(r"\.log(?:[.-]\d[\d.-]*)?$|^(?:syslog|messages|dmesg)(?:\.\d+)?$", re.IGNORECASE)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "pdf"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b\x08", "gz"),
    (b"\x28\xb5\x2f\xfd", "zst"), (b"\xfd7zXZ\0", "xz"), (b"PAR1", "parquet"), (b"WARC/1.", "warc"),
)  # fmt: skip
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n", "PNG image"), (b"GIF87a", "GIF image"), (b"GIF89a", "GIF image"), (b"\xff\xd8\xff", "JPEG image"),
    (b"II*\0", "TIFF image"), (b"MM\0*", "TIFF image"), (b"RIFF", "RIFF media"), (b"OggS", "Ogg media"),
    (b"ID3", "MP3 audio"), (b"\x7fELF", "ELF program"), (b"MZ\x90\0", "Windows program"),
    (b"\xca\xfe\xba\xbe", "Java class"), (b"\xcf\xfa\xed\xfe", "macOS program"), (b"\0asm", "WebAssembly"),
    (b"SQLite format 3\0", "SQLite database"), (b"wOFF", "font"), (b"wOF2", "font"), (b"7z\xbc\xaf", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Office or Outlook file"),
    (b"GGUF\x03", "GGUF model"), (b"\x93NUMPY", "NumPy array"), (b"!<arch>\n", "ar archive"),
)  # fmt: skip
_BY_MEDIA_TYPE = {
    **{kind.media_type: kind for kind in _BY_SUFFIX.values()},
    "application/xhtml+xml": _BY_SUFFIX["html"],
    "application/x-pdf": _BY_SUFFIX["pdf"],
    "application/x-ndjson": _BY_SUFFIX["jsonl"],
    "application/x-gzip": _BY_SUFFIX["gz"],
}
_HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_TEXT_TYPE = re.compile(r"text/[a-z0-9.+-]{1,40}")
_SHEBANG = re.compile(rb"#!\s*\S*?/?(?:env\s+(?:-S\s+)?)?([a-z]+)[\d.]*(?:\s|$)")
_SHELLS = {"sh": "shell", "bash": "bash", "zsh": "shell", "ksh": "shell", "dash": "shell", "node": "javascript"}
_ROFF = re.compile(rb"(?:['.]\\\"|\.TH\b|\.Dd\b)")


def _languages() -> dict[str, str]:
    entries = " ".join(_LANGUAGES.split()).split(" / ")
    return {suffix: name for name, suffixes in (entry.split(": ") for entry in entries) for suffix in suffixes.split()}


_LANGUAGE_OF = _languages()
_LANGUAGE_NAMES = frozenset((*_LANGUAGE_OF.values(), *_NAMES.values()))


def suffix_of(name: str) -> str:
    """Return the suffix of a file name, in lower case and without its dot."""
    return PurePosixPath(name).suffix[1:].lower()


def code(language: str) -> Kind:
    """Return the kind of a source file in a language."""
    return Kind("code", f"text/x-{language}", language)


def by_name(name: str) -> Kind | None:
    """Return the kind that a file's name tells, or None."""
    lower, suffix = name.lower(), suffix_of(name)
    if lower in _NAMES:
        return code(_NAMES[lower])
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix in _LANGUAGE_OF:
        return code(_LANGUAGE_OF[suffix])
    if _LOG_NAME.search(name):
        return _BY_SUFFIX["log"]
    return _BY_SUFFIX["txt"] if not suffix and _NAMED_TEXT.match(name) else None


def recognise(name: str, head: bytes, media_type: str = "") -> Kind:
    """Return the kind of a file.

    Args:
        name: its file name.
        head: its first bytes, some thousands.
        media_type: what somebody claims it to be, "" for nobody.

    The reader "foreign" stands for what is none of ours; its media type then says in words what it is.
    """
    named = _BY_MEDIA_TYPE.get(media_type) or by_name(name)
    if named is None and _TEXT_TYPE.fullmatch(media_type):
        named = Kind("text", media_type)
    begins = _by_magic(head, named)
    if begins is not None:
        return begins
    # A tar file of before 1988 has no mark; of the other containers none is without.
    if named is not None and (named.reader not in CONTAINERS or named.reader == "tar"):
        return named
    return _by_text(head)


def _by_magic(head: bytes, named: Kind | None) -> Kind | None:
    """Return the kind that the first bytes prove, if they prove one."""
    found = next((reader for magic, reader in _MAGIC if head.startswith(magic)), None)
    if found is None and head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        found = "bz2"
    if found is None and head[257:262] == b"ustar":
        found = "tar"
    if found is None:
        what = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
        if what == "RIFF media" and head[8:12] not in (b"WAVE", b"AVI ", b"WEBP"):
            what = None
        # Old Excel files, and encrypted new ones: their readers tell which.
        if what is not None and named is not None and named.reader in ("sheets", "docx", "pptx"):
            return named
        return Kind("foreign", what) if what is not None else None
    if found == "zip":
        # Of what a zip file may be, only the name, or what lies first in it, tells.
        return named if named is not None and named.reader in ("docx", "pptx", "sheets") else _zipped(head)
    if found == "warc" and (named is None or named.reader != "warc") and b"\0" in head:
        return None
    if named is not None and named.reader == found:
        return named
    return next(kind for kind in _BY_SUFFIX.values() if kind.reader == found)


def _zipped(head: bytes) -> Kind:
    if b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        for folder, suffix in ((b"word/", "docx"), (b"ppt/", "pptx"), (b"xl/", "xlsx")):
            if folder in head:
                return _BY_SUFFIX[suffix]
    return _BY_SUFFIX["zip"]


def _by_text(head: bytes) -> Kind:
    """Return the kind of a file without a known name, from how its text begins."""
    if _HTML.match(head):
        return _BY_SUFFIX["html"]
    shebang = _SHEBANG.match(head)
    if shebang is not None:
        program = shebang.group(1).decode()
        language = _SHELLS.get(program, program)
        return code(language) if language in _LANGUAGE_NAMES else code("shell")
    if head.startswith(b"From ") and re.match(rb"From \S+ .*\d\d:\d\d:\d\d.*\n(?:>?[A-Za-z-]+:|From )", head):
        return _BY_SUFFIX["mbox"]
    if re.match(rb"(?:Return-Path|Received|Delivered-To|MIME-Version|Message-ID): ", head):
        return _BY_SUFFIX["eml"]
    if head.startswith(b"<?xml"):
        return code("xml")
    if _ROFF.match(head):
        return Kind("text", "text/troff")
    return _BY_SUFFIX["txt"]
