"""A web page as Markdown: menus and page furniture gone, code, tables and headings kept.

Two libraries do the heavy work: selectolax (a browser-grade parser) to cut away what is no
content, and html-to-markdown for the conversion of what is left.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from html_to_markdown import ConversionOptions, convert
from selectolax.lexbor import LexborHTMLParser, LexborNode

# What never holds prose of the page itself.
_NEVER_CONTENT = (
    "script,style,noscript,hr,template,svg,canvas,iframe,object,nav,form,button,input,select,textarea,dialog,"
    "[role=navigation],[role=search],[role=banner],[role=contentinfo],[aria-hidden=true],[hidden]"
)

# Parts of class and id names that web sites give to page furniture. Whole parts only:
# "menu" and "main-menu" are furniture, "document" is not.
_FURNITURE = re.compile(
    r"(?<![a-z0-9])(?:menu|mainmenu|submenu|navbar|navigation|nav|sidebar|breadcrumbs?|searchbox|searchmenu|tagline|toc|"
    r"tableofcontents|footer|headerlink|permalink|pagination|pager|cookies?|skiplink|skip|advert|banner|relbar|related|"
    r"sphinxsidebar|editsection|mw-jump-link)(?![a-z0-9])",
    re.IGNORECASE,
)

_PRE = re.compile(r"(<pre\b.*?</pre\s*>)", re.IGNORECASE | re.DOTALL)
# 2<sup>31</sup> and N<sup>2</sup> are powers; word<sup>1</sup> is a note.
_POWER = re.compile(r"(\d|\)|\b[A-Za-z])<sup>\s*([\w+-]{1,4})\s*</sup>", re.IGNORECASE)
_NOTE = re.compile(r"<sup>\s*(\d{1,3})\s*</sup>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_TITLE_NUMBER = re.compile(r"^\W*(?:\d+\.)+\d*\s*")

# Italics in manuals mark variables: *X* inside **abs(*X*)** only costs tokens.
_SAYS_NOTHING = re.findall(r"[^|]+", "center|font|big|small|i|em|var|cite|dfn|span|u")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?=[-_]|$)")

_OPTIONS = ConversionOptions(
    autolinks=False,
    bullets="-",
    compact_tables=True,
    extract_metadata=False,
    skip_images=True,
)


class Page(NamedTuple):
    """A page's own title and language, or None where it states none, and its text as Markdown."""

    title: str | None
    text: str
    language: str | None = None


def page_to_markdown(html: str, name: str = "") -> Page:
    """Return the content of a web page as Markdown that starts with the page's title.

    `name` is the page's file name; links to it count as links within the page, which is how a
    table of contents is recognised.
    """
    tree = LexborHTMLParser(html)
    body = tree.body
    if body is None:
        return Page(None, "")
    title, language = _page_title(tree), _page_language(tree)
    _cut_furniture(body, name)
    _simplify(tree, ["blockquote", *_SAYS_NOTHING])
    markdown = convert(_tidy_markup(body.html or ""), _OPTIONS).content or ""
    return Page(title, _with_title(markdown.strip(), title), language)


def fragment_to_markdown(html: str) -> str:
    """Return HTML that is no page of a site (a mail's body) as Markdown: all of it, quotations marked by "> "."""
    tree = LexborHTMLParser(html)
    body = tree.body
    if body is None:
        return ""
    for node in body.css("script,style,template,svg"):
        node.decompose()
    _simplify(tree, _SAYS_NOTHING)
    return (convert(_tidy_markup(body.html or ""), _OPTIONS).content or "").strip()


def _page_title(tree: LexborHTMLParser) -> str | None:
    node = tree.css_first("title") or tree.css_first("h1")
    title = _SPACE.sub(" ", node.text(deep=True)).strip() if node is not None else ""
    return title or None


def _page_language(tree: LexborHTMLParser) -> str | None:
    """Return the two or three letters of the language that the page states."""
    root = tree.root
    stated = (root.attributes.get("lang") or root.attributes.get("xml:lang") or "") if root is not None else ""
    found = _LANGUAGE.match(stated)
    return found[0].lower() if found is not None else None


def _cut_furniture(body: LexborNode, name: str) -> None:
    """Remove menus, search boxes, tables of contents and toggles from the tree, in place."""
    for node in body.css("p"):
        # A paragraph that holds a button and a few words is a control ("hide", "show"), not prose.
        if node.css_first("button") is not None and len(node.text(deep=True)) < 60:
            node.decompose()
    for node in body.css(_NEVER_CONTENT):
        node.decompose()
    for node in body.css("[class],[id]"):
        if node.tag not in ("body", "main", "article") and _is_furniture(node):
            node.decompose()
    for node in body.css("header,footer"):
        if node.css_first("h1,h2,p") is None:
            node.decompose()
    _open_layout_tables(body)
    for node in body.css("ul,ol,div"):
        if node.parent is not None and _is_table_of_contents(node, name):
            node.decompose()


def _is_furniture(node: LexborNode) -> bool:
    attributes = node.attributes
    return _FURNITURE.search(f"{attributes.get('class') or ''} {attributes.get('id') or ''}") is not None


def _is_table_of_contents(node: LexborNode, name: str) -> bool:
    """Say whether a block is nothing but links to places in the same page."""
    links = node.css("a[href]")
    if len(links) < 3:
        return False
    for link in links:
        target, mark, _ = (link.attributes.get("href") or "").partition("#")
        if not mark or (target and target != name):
            return False
    linked = sum(len(link.text(deep=True).strip()) for link in links)
    whole = len(_SPACE.sub("", node.text(deep=True)))
    return linked >= 0.8 * whole


def _open_layout_tables(body: LexborNode) -> None:
    """Put the cells of a table one below the other if half of its rows hold lines of code: Markdown's cells cannot."""
    for table in body.css("table"):
        rows = [row for row in table.css("tr") if row.css_first("td") is not None]
        with_code = sum(any("\n" in pre.text(deep=True).strip() for pre in row.css("pre")) for row in rows)
        if not with_code or 2 * with_code < len(rows):
            continue
        for numbers in table.css("td.linenos,td.gutter,td.line-numbers"):
            numbers.decompose()
        for cell in table.css("td,th,caption"):
            block = LexborHTMLParser(f"<div>{cell.inner_html or ''}</div>").body
            if block is not None and block.first_child is not None:
                cell.replace_with(block.first_child)
        table.unwrap_tags(["tr", "tbody", "thead", "tfoot"])
        table.unwrap()


def _simplify(tree: LexborHTMLParser, unwrapped: list[str]) -> None:
    """Unwrap mark-up that says nothing to a reader of plain text, in place."""
    # Old manuals indent code and tables with <blockquote>; its "> " would get into the code.
    tree.unwrap_tags(unwrapped)
    for link in tree.css("a"):
        if not link.text(deep=True).strip():
            link.decompose()
    tree.unwrap_tags(["a"])
    for pre in tree.css("pre"):
        for child in pre.css("b,strong,code,tt"):
            child.unwrap()


def _tidy_markup(markup: str) -> str:
    """Outside <pre>, fold white space (a line's end is a space like any other) and write powers and notes."""
    parts = _PRE.split(_COMMENT.sub("", markup))
    for at in range(0, len(parts), 2):
        part = _POWER.sub(r"\1^\2", _SPACE.sub(" ", parts[at]))
        parts[at] = _NOTE.sub(r" [\1]", part)
    return "".join(parts)


def _with_title(markdown: str, title: str | None) -> str:
    """Start the text with a heading that names the page, without saying it twice."""
    first, _, rest = markdown.partition("\n")
    plain = first.strip().strip("*").strip()
    if first.startswith("#"):
        heading = _TITLE_NUMBER.sub("", first)
        if title is None or _same_words(heading, title) or _same_words(_second_heading(rest), title):
            return markdown
        return f"# {title}\n\n{markdown}"
    if plain and len(plain) < 90 and plain[-1] not in ".:;,!?" and (title is None or _share(plain, title) >= 0.5):
        return f"# {plain}\n{rest}"
    return f"# {title}\n\n{markdown}" if title else markdown


def _second_heading(rest: str) -> str:
    first = rest.strip().partition("\n")[0]
    return _TITLE_NUMBER.sub("", first) if first.startswith("#") else ""


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _same_words(one: str, other: str) -> bool:
    return _share(one, other) >= 0.6 and _share(other, one) >= 0.6


def _share(one: str, other: str) -> float:
    words = _words(one)
    return len(words & _words(other)) / len(words) if words else 0.0
