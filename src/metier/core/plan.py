"""What a recipe would do before it does it, and why a step would run again."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from metier.core.artifact import Artifact
from metier.core.errors import Mistake, Problem
from metier.core.extras import missing_packages
from metier.core.host import Host
from metier.core.step import Estimate, Keys, Step, dependencies_first
from metier.core.workshop import Workshop

State = Literal["done", "resume", "make", "not needed"]
_SHOWN = 8  # names in an error; `metier ls` has them all


class Planned(NamedTuple):
    """One step of a plan; `estimate` is None where it cannot say, `seconds_before` is what it took when made."""

    name: str
    step: Step[Any]
    folder: str
    state: State
    estimate: Estimate | None
    seconds_before: float | None
    missing: list[str]


class Plan(NamedTuple):
    """All steps of a recipe in the order in which they would run, and the host they would run on."""

    steps: list[Planned]
    host: Host

    @property
    def to_make(self) -> list[Planned]:
        """The steps that would run."""
        return [planned for planned in self.steps if planned.state in ("make", "resume")]


def plan(workshop: Workshop, targets: list[Step[Any]], names: dict[int, str]) -> Plan:
    """Work out what making `targets` would do. Nothing is made."""
    needed = workshop.needed(targets)
    steps = []
    for step in dependencies_first(targets, names):
        folder = workshop.folder_of(step)
        done = workshop.find(step)
        state: State = "done" if done else "not needed"
        if id(step) in needed:
            state = "resume" if folder.exists() else "make"
        steps.append(
            Planned(
                names.get(id(step), step.name),
                step,
                folder.name,
                state,
                step.estimate(workshop.host) if state in ("make", "resume") else None,
                done.record.seconds if done else None,
                sorted({package for extra in step.extras for package in missing_packages(extra)}),
            )
        )
    return Plan(steps, workshop.host)


def why(workshop: Workshop, step: Step[Any], names: dict[int, str]) -> list[str]:
    """Return the reasons for which `step` would run, field by field against the nearest earlier artifact of that step.

    Empty if it is done.
    """
    if workshop.find(step):
        return []
    folder = workshop.folder_of(step)
    name = names.get(id(step), step.name)
    if folder.exists():
        return [f"{name}: an earlier attempt was not finished; it goes on from what is left"]
    now = workshop.keys.identity(step)
    earlier = [artifact for artifact in workshop.artifacts() if artifact.folder.name.rpartition("-")[0] == step.name]
    compared = [_differences(now, artifact, workshop.keys, step, names) for artifact in earlier if artifact.exists]
    if not compared:
        return [f"{name}: no '{step.name}' was ever made in this workshop"]
    fewest = min(compared, key=len)
    reasons = [f"{name}: {difference}" for difference in fewest]
    changed = {difference.split(":")[0] for difference in fewest}
    for field, steps in step.held().items():
        if field in changed:
            for held in steps:
                reasons += ["  " + reason for reason in why(workshop, held, names)]
    return reasons


def _differences(
    now: dict[str, Any], artifact: Artifact, keys: Keys, step: Step[Any], names: dict[int, str]
) -> list[str]:
    try:
        record = artifact.record
    except Problem:
        return [f"record: that of {artifact.folder.name} cannot be read"]
    lines = []
    if now["version"] != record.version:
        lines.append(f"version: of the step {record.version} → {now['version']}")
    before, after = record.recipe, now["fields"]
    for field in type(step).model_fields:
        if before.get(field) == after.get(field):
            continue
        held = step.held().get(field)
        if held:
            which = ", ".join(names.get(id(inner), inner.name) for inner in held)
            lines.append(f"{field}: another ${which} than the one {artifact.folder.name} was made from")
        elif field in step.local_inputs():
            lines.append(f"{field}: the content of {step.local_inputs()[field][0].written} changed")
        else:
            default = type(step).model_fields[field].default
            lines.append(f"{field}: {before.get(field, default)} → {after.get(field, default)}")
    return lines or ["record: only fields that no longer exist differ"]


def find_artifact(workshop: Workshop, wanted: str) -> Artifact:
    """Return the artifact whose folder is `wanted` or begins with it. Raises Mistake if there is none, or several."""
    found = [artifact for artifact in workshop.artifacts() if artifact.folder.name.startswith(wanted)]
    exact = [artifact for artifact in found if artifact.folder.name == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    names = [artifact.folder.name for artifact in (found or workshop.artifacts())]
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise Mistake(
        f"'{wanted}' names {len(found)} artifacts" if found else f"there is no artifact '{wanted}'",
        found=", ".join(names[:_SHOWN]) + more if names else "an empty workshop",
        hint="`metier ls` lists them",
    )
