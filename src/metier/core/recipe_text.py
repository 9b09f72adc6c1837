"""Changing a recipe's text where it says something else, and nowhere else: comments, order and spacing stay.

YAML's own parser says where each value begins and ends; only those characters are replaced. What comes out is read
again and compared with what was meant, so a construct that this module does not know is refused, never garbled.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from metier.core.errors import Mistake

_MERGE = "tag:yaml.org,2002:merge"  # of the key in "<<: *other"


class _Edit(NamedTuple):
    """Put `text` in the place of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def with_field(text: str, entry: str, field: str, value: Any) -> str:
    """Return a recipe's text with one field of an entry set, added if it is not written yet.

    Raises:
        Mistake: there is no such entry, or the text cannot be changed there alone.
    """
    meant = _read(text)
    if not isinstance(meant.get(entry), dict):
        raise Mistake(f"the recipe has no entry '{entry}' with fields", found=", ".join(map(str, meant)))
    meant[entry] = {**meant[entry], field: value}
    return _changed(text, meant, f"{entry}.{field}")


def with_entry(text: str, name: str, entry: Mapping[str, Any], after: str) -> str:
    """Return a recipe's text with a new entry on the line behind the entry `after`.

    Raises:
        Mistake: there is no entry `after`, `name` is taken, or the text cannot be changed there alone.
    """
    meant = _read(text)
    if after not in meant or name in meant:
        raise Mistake(
            f"'{name}' cannot be put behind '{after}'",
            found=f"'{name}' is there already" if name in meant else f"no '{after}' in {', '.join(map(str, meant))}",
        )
    node = _tree(text)
    value = next(value for key, value in node.value if key.value == after)
    edit = _into_mapping(text, node, value, name, dict(entry))
    return _checked(text, [edit], {**meant, name: dict(entry)}, name)


def _changed(text: str, meant: Any, what: str) -> str:
    return _checked(text, list(_edits(text, _tree(text), meant)), meant, what)


def _checked(text: str, edits: list[_Edit], meant: Any, what: str) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if found != meant:
        raise Mistake(
            f"{what} cannot be changed in this file without changing something else",
            found="the value is written in a way (an anchor, a merge, several lines) that is left to people",
            hint="change it by hand as shown",
        )
    return text


def _read(text: str) -> dict[Any, Any]:
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise Mistake("the recipe holds no entries", found=type(found).__name__)
    return found


def _tree(text: str) -> Any:
    return yaml.compose(text, yaml.SafeLoader)


def _value(node: Any) -> Any:
    return yaml.SafeLoader("").construct_object(copy.deepcopy(node), deep=True)  # merging changes the node


def _edits(text: str, node: Any, meant: Any) -> list[_Edit]:
    """Return what makes `node` say `meant`: in lists and mappings only what differs, else the whole value."""
    said = _value(node)
    if said == meant and type(said) is type(meant):
        return []
    if isinstance(node, yaml.MappingNode) and isinstance(meant, dict) and node.value and said.keys() <= meant.keys():
        own = {_value(key): value for key, value in node.value if key.tag != _MERGE}
        found = [edit for key, value in own.items() for edit in _edits(text, value, meant[key])]
        last = list(own.values())[-1] if own else node.value[-1][1]
        # What a merge gives is overridden here; where it stands, it may be others' too.
        new = [key for key in meant if key not in own and (key not in said or said[key] != meant[key])]
        return found + [_into_mapping(text, node, last, key, meant[key]) for key in new]
    if isinstance(node, yaml.SequenceNode) and isinstance(meant, list) and node.value and len(said) <= len(meant):
        found = [edit for item, value in zip(node.value, meant, strict=False) for edit in _edits(text, item, value)]
        return found + [_into_sequence(text, node, item) for item in meant[len(said) :]]
    start, end = node.start_mark.index, _end(text, node)
    return [_Edit(start, end, " " * (start == end) + _flow(meant))]


def _into_mapping(text: str, node: Any, after: Any, key: str, value: Any) -> _Edit:
    """Return the edit that puts `key: value` into a mapping behind the value node `after`."""
    if node.flow_style:
        at = _end(text, after)
        return _Edit(at, at, f", {_flow(key)}: {_flow(value)}")
    return _line(text, after, node.value[0][0].start_mark.column, f"{_flow(key)}: {_flow(value)}")


def _into_sequence(text: str, node: Any, value: Any) -> _Edit:
    last = node.value[-1]
    if node.flow_style:
        at = _end(text, last)
        return _Edit(at, at, f", {_flow(value)}")
    return _line(text, last, node.start_mark.column, f"- {_flow(value)}")


def _line(text: str, after: Any, column: int, written: str) -> _Edit:
    """Return the edit that writes a line of its own behind the last line of a value."""
    at = text.find("\n", _end(text, after))
    at = len(text) if at < 0 else at
    if at > 0 and text[at - 1] == "\r":
        at -= 1
    newline = "\r\n" if "\r\n" in text else "\n"
    return _Edit(at, at, f"{newline}{' ' * column}{written}")


def _end(text: str, node: Any) -> int:
    """Return where a value's own characters end; YAML counts what follows a block to it, comments and all."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(node, yaml.MappingNode) else last)
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[:end].rstrip())
    return end


def _flow(value: Any) -> str:
    """Return a value on one line."""
    written: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return written.removesuffix("...\n").strip()
