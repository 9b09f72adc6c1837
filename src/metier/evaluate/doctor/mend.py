"""Remedies applied to a recipe's text: only where the recipe still is the one that was diagnosed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from metier.core.errors import Mistake
from metier.core.recipe import Recipe, build_recipe
from metier.core.recipe_text import with_entry, with_field
from metier.core.workshop import Workshop
from metier.evaluate.doctor.remedies import named


class Chosen(NamedTuple):
    """A remedy of a fault that was found."""

    fault: str
    kind: str
    why: str
    changes: list[dict[str, Any]]


class Mended(NamedTuple):
    """A recipe's new text. applied: remedies in it; advice: those that change no recipe; left: those in whose way
    another one stood, with the reason."""

    text: str
    applied: list[Chosen]
    advice: list[Chosen]
    left: list[tuple[Chosen, str]]


def choose(
    diagnosis: Mapping[str, Any], only: Collection[str] = (), kinds: Mapping[str, str] | None = None
) -> list[Chosen]:
    """Return the remedies to apply: of every fault found, or of those in `only`, the first or the one of a kind.

    Those of a kind that was asked for come first.

    Raises:
        Mistake: a fault was not found, or has no remedy of that kind.
    """
    kinds = dict(kinds or {})
    found = {fault["fault"]: fault for fault in diagnosis["faults"] if fault["found"]}
    for name in (*only, *kinds):
        if name not in found:
            raise Mistake(f"the doctor has not found '{name}'", found=", ".join(found) or "no fault")
    chosen = []
    for name, fault in found.items():
        if only and name not in only:
            continue
        ways = [way for way in (fault["remedy"], *fault["alternatives"]) if way is not None]
        if name in kinds:
            ways = [way for way in ways if way["kind"].lower() == kinds[name].lower()]
        if not ways:
            known = [way["kind"] for way in (fault["remedy"], *fault["alternatives"]) if way is not None]
            raise Mistake(f"'{name}' has no remedy '{kinds.get(name)}'", found=", ".join(known) or "none")
        chosen.append(Chosen(name, ways[0]["kind"], ways[0]["why"], ways[0]["changes"]))
    return sorted(chosen, key=lambda one: one.fault not in kinds)  # what was asked for stands in nobody's way


def mend(text: str, recipe: Recipe, workshop: Workshop, diagnosis: Mapping[str, Any], chosen: list[Chosen]) -> Mended:
    """Return the recipe with the chosen remedies, in their order.

    Args:
        text: what is written in the recipe's file.
        recipe: the same, loaded.

    Raises:
        Mistake: a step that a remedy changes is not the one that was diagnosed; or the recipe would not load.
    """
    names = _names(recipe, workshop, diagnosis, chosen)
    now: dict[tuple[str, str], tuple[Any, str]] = {}  # what a field says by now, and the remedy that made it say so
    mended = Mended(text, [], [], [])
    for remedy in chosen:
        if not remedy.changes:
            mended.advice.append(remedy)
            continue
        changes = [_renamed(change, names) for change in remedy.changes]
        changes += _looked_at(mended.text, recipe, changes)
        blocked = next((by for change in changes if (by := _blocked(change, now, recipe))), None)
        if blocked is not None:
            mended.left.append((remedy, blocked))
            continue
        for change in changes:
            mended = mended._replace(text=_applied(mended.text, change))
            if "step" in change:
                now |= {place: (to, remedy.fault) for place, to in _settled(change)}
        mended.applied.append(remedy)
    if recipe.file is not None and mended.applied:
        import yaml

        build_recipe(yaml.safe_load(mended.text), recipe.file.parent.absolute(), recipe.file)
    return mended


def _names(recipe: Recipe, workshop: Workshop, diagnosis: Mapping[str, Any], chosen: list[Chosen]) -> dict[str, str]:
    """Return what the recipe calls the steps that the diagnosis names, found by their keys."""
    needed = {name for remedy in chosen for change in remedy.changes for name in named(change)}
    if not needed:
        return {}
    called = {workshop.folder_of(step).name: name for name, step in recipe.steps.items()}
    found = {}
    for name in sorted(needed & diagnosis["recipe"].keys()):
        folder = diagnosis["recipe"][name]
        if folder not in called:
            raise Mistake(
                f"the recipe no longer matches the diagnosis: no step of it is {folder}",
                found=f"'{name}' is {workshop.folder_of(recipe.steps[name]).name} now"
                if name in recipe.steps
                else f"no '{name}'; there are {', '.join(recipe.steps)}",
                hint="make the diagnosis anew: run the `doctor` step",
            )
        found[name] = called[folder]
    return found


def _renamed(change: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    def told(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("$"):
            return f"${names.get(value[1:], value[1:])}"
        if isinstance(value, dict):
            return {key: told(item) for key, item in value.items()}
        return [told(item) for item in value] if isinstance(value, list) else value

    found = {key: told(value) for key, value in change.items()}
    for key in ("step", "after"):
        if key in found:
            found[key] = names.get(found[key], found[key])
    return found


def _blocked(change: Mapping[str, Any], now: Mapping[tuple[str, str], tuple[Any, str]], recipe: Recipe) -> str | None:
    """Return why a change cannot be made after those made before it, or None."""
    if "insert" in change:
        name = change["insert"]["name"]
        return f"'{name}' is in the recipe already" if name in recipe.steps else None
    for place, to in _settled(change):
        said, by = now.get(place, (to, ""))
        if said != to:
            return f"the remedy of {by} changes {'.'.join(place)} already; examine again after it"
    return None


def _settled(change: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield the fields that a change settles: with the method the learning rate, as each method has one of its own."""
    yield (change["step"], change["field"]), change["to"]
    if change["field"] == "method":
        yield (change["step"], "learning_rate"), None


def _applied(text: str, change: Mapping[str, Any]) -> str:
    if "insert" in change:
        insert = change["insert"]
        return (
            text if _has(text, insert["name"]) else with_entry(text, insert["name"], insert["entry"], change["after"])
        )
    return with_field(text, change["step"], change["field"], change["to"])


def _looked_at(text: str, recipe: Recipe, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what lets doctors look at the cleaned data: in what is no longer used they would find the old fault again.

    A new step that holds a corpus of `trained_on` leaves something out of it, and stands in its place.
    """
    import yaml

    cleaned = {}
    for change in changes:
        corpus = change["insert"]["entry"].get("corpus") if "insert" in change else None
        if corpus is not None:
            cleaned[corpus] = f"${change['insert']['name']}"
    found = []
    for name, step in recipe.steps.items():
        said = yaml.safe_load(text)[name].get("trained_on") if step.name == "doctor" else None
        if isinstance(said, list) and cleaned.keys() & {one for one in said if isinstance(one, str)}:
            meant = [cleaned.get(one, one) if isinstance(one, str) else one for one in said]
            found.append({"step": name, "field": "trained_on", "from": said, "to": meant})
    return found


def _has(text: str, name: str) -> bool:
    import yaml

    return name in yaml.safe_load(text)  # two remedies may both want the origin's replies
