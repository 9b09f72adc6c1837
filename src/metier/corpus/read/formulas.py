"""Formulas of Office documents (OMML, ISO/IEC 29500-1 part 22) in the notation of LaTeX."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from metier.corpus.read.ooxml import M

_OPERATORS = {"∑": r"\sum", "∏": r"\prod", "∫": r"\int", "⋃": r"\bigcup", "⋂": r"\bigcap", "": r"\int"}
_ACCENTS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0305": r"\bar", "\u20d7": r"\vec"}
_ACCENTS |= {"\u0307": r"\dot", "\u0308": r"\ddot", "": r"\hat"}


def formula(element: Element) -> str:
    """Return what is in an element of a formula; structures that are not known give what they hold, in order."""
    name = element.tag.removeprefix(M)
    if name == "t":
        return element.text or ""
    shape = _SHAPES.get(name)
    return shape(element) if shape is not None else "".join(map(formula, element))


def _part(element: Element, name: str) -> str:
    found = element.find(f"{M}{name}")
    return formula(found).strip() if found is not None else ""


def _property(element: Element, name: str, default: str) -> str:
    """Return the character that an element's properties state."""
    found = element.find(f"{M}{element.tag.removeprefix(M)}Pr/{M}{name}")
    return found.get(f"{M}val", default) if found is not None else default


def _fraction(element: Element) -> str:
    return rf"\frac{{{_part(element, 'num')}}}{{{_part(element, 'den')}}}"


def _script(element: Element) -> str:
    below = f"_{{{_part(element, 'sub')}}}" if element.find(f"{M}sub") is not None else ""
    above = f"^{{{_part(element, 'sup')}}}" if element.find(f"{M}sup") is not None else ""
    return f"{_part(element, 'e')}{below}{above}"


def _radical(element: Element) -> str:
    degree = _part(element, "deg")
    return rf"\sqrt{f'[{degree}]' if degree else ''}{{{_part(element, 'e')}}}"


def _nary(element: Element) -> str:
    sign = _property(element, "chr", "∫")
    below, above = _part(element, "sub"), _part(element, "sup")
    limits = (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")
    return f"{_OPERATORS.get(sign, sign)}{limits} {_part(element, 'e')}"


def _delimited(element: Element) -> str:
    inside = _property(element, "sepChr", "|").join(formula(child) for child in element.findall(f"{M}e"))
    return f"{_property(element, 'begChr', '(')}{inside}{_property(element, 'endChr', ')')}"


def _matrix(element: Element) -> str:
    rows = [" & ".join(map(formula, row.findall(f"{M}e"))) for row in element.findall(f"{M}mr")]
    return r"\begin{matrix}" + r" \\ ".join(rows) + r"\end{matrix}"


def _accent(element: Element) -> str:
    sign = _property(element, "chr", "")
    return rf"{_ACCENTS.get(sign, sign)}{{{_part(element, 'e')}}}"


def _function(element: Element) -> str:
    return f"{_part(element, 'fName')} {_part(element, 'e')}"


_SHAPES = {
    "f": _fraction,
    "sSup": _script,
    "sSub": _script,
    "sSubSup": _script,
    "rad": _radical,
    "nary": _nary,
    "d": _delimited,
    "m": _matrix,
    "acc": _accent,
    "func": _function,
}
