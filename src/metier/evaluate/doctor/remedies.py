"""What mends a fault, as changes of the recipe's fields: the first remedy is the doctor's choice, others follow.

A change is `{"step", "field", "from", "to"}`, or `{"insert": {"name", "entry"}, "after"}` for a new step; steps are
called as in the recipe. A remedy without changes says what to do outside the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from metier.core import Step
from metier.core.step import STEPS, dependencies_first
from metier.core.types import Conversations, Documents
from metier.evaluate.doctor.faults import REPEATED_BOUND, Looked, Seen
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.gate import ALPHA

Change = dict[str, Any]

_REPLAY_AT_LEAST, _REPLAY_AT_MOST = 0.3, 0.5
_BETA = 0.1  # where a preference training does not say
_REHEARSAL_PROMPTS, _ALL_PROMPTS = 160, 204


def named(change: Change) -> set[str]:
    """Return the steps that a change names, those that it changes and those that it refers to."""
    told = {change["step"]} if "step" in change else {change["after"]}
    return told | _references([change.get("from"), change.get("to"), change.get("insert")])


def _references(value: Any) -> set[str]:
    if isinstance(value, str) and value.startswith("$"):
        return {value[1:]}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for item in inner for name in _references(item)}


class Remedy(NamedTuple):
    """One way to mend a fault."""

    kind: str
    why: str
    changes: list[Change]


def remedies(
    looked: Looked, seen: Seen, lineage: Lineage, sources: Sequence[Step[Any]], exam: Any | None
) -> list[Remedy]:
    """Return the remedies of a fault that was found, the doctor's choice first; at least one.

    Args:
        sources: the steps that made the training data, as `seen` counts them.
        exam: the step that made the exam, where it is known.
    """
    worst = {test.name for test in looked.tests if test.p <= ALPHA}
    if looked.fault == "missing_end_token":
        return _end_token(lineage, seen)
    if looked.fault == "repetition":
        return _repetition(lineage, seen, sources)
    if looked.fault == "forgetting":
        return _forgetting(lineage, worst)
    if looked.fault == "contamination":
        return _contamination(lineage, seen, sources, exam)
    return _drift(lineage, looked.fault, worst)


def _end_token(lineage: Lineage, seen: Seen) -> list[Remedy]:
    if seen.ends is not None and seen.ends.wrong:
        why = (
            "The chat template ends an answer with one token and the model's folder names another. Add the template's "
            "token to eos_token_id in the generation_config.json of the model that the training began with, and "
            "train again; a served copy stops as soon as its own file says so."
        )
        return [Remedy("fix the end token", why, [])]
    tuned = lineage.stages("sft")
    if not tuned and seen.ends is not None and seen.ends.rows:
        why = (
            "The trained answers end as they should, and the model goes on: its training has left the end token out of "
            "the loss, or was too short. Train the same rows with the step `sft`, whose mask always holds that token."
        )
        return [Remedy("fix the loss mask", why, [])]
    if not tuned or (lineage.training and lineage.training[-1].name == "cpt"):
        why = (
            "Nothing after the continued pre-training teaches the model to end an answer: documents have no turns. "
            "Fine-tune it on conversations as the last stage, or on its origin's own replies (step `rehearsal`)."
        )
        return [Remedy("fine-tune last", why, [])]
    longer = [_set(lineage, step, "epochs", step.epochs * 2) for step in tuned[-1:]]
    why = "The trained answers end as they should, and the model has not learnt it yet: it takes more passes over them."
    return [Remedy("train longer", why, longer), *_rehearse(lineage, "General answers that end teach ending.")]


def _repetition(lineage: Lineage, seen: Seen, sources: Sequence[Step[Any]]) -> list[Remedy]:
    cuts, whys = [], []
    for source, repeats in zip(sources, seen.repeats or [], strict=False):
        if repeats.share <= REPEATED_BOUND:
            continue
        name = lineage.name(source)
        whys.append(f"{repeats.share:.0%} of ${name} stands there for the fifth time or more")
        kind = "filter" if repeats.within > 0.5 else "dedup"  # what repeats itself within is nobody's copy
        options: Change = {"rules": ["gopher-repetition"]} if kind == "filter" else {"threshold": 0.9}
        if issubclass(source.makes, Documents) and kind in STEPS:
            cuts.append(Cut(source, f"{name}-unique", {"step": kind, "corpus": f"${name}", **options}))
    rest = [*_gentler(lineage, "A lower rate leaves more of the origin's fluency."), _decoding()]
    if not whys:
        return rest
    why = "; ".join(whys) + ": what is read so often is recited. Leave the copies out."
    return [Remedy("deduplicate", why, _cut(lineage, cuts)), *rest]


def _decoding() -> Remedy:
    why = (
        "Greedy decoding loops more than any other (Holtzman et al. 2020). Where the share is small, a repetition "
        "penalty or a temperature breaks loops: the step `decoding-search` finds one. Hold it the same for all models "
        "compared."
    )
    return Remedy("decoding", why, [])


def _forgetting(lineage: Lineage, worst: set[str]) -> list[Remedy]:
    replay = _more_replay(lineage)
    chat = _rehearse(lineage, "The origin's own replies among the rows keep its way of answering.")
    first = [*chat, *replay] if worst == {"general_replies"} else [*replay, *chat]
    rate = _gentler(lineage, "Forgetting grows with the learning rate (Ibrahim et al. 2024).")
    vector = Remedy(
        "chat vector",
        "Continue the pre-training on the base model instead of the chat model, and add the difference of the two's "
        "weights afterwards with the step `chat-vector` (Huang et al. 2023): what chat taught is not trained over.",
        [],
    )
    return [*first, *rate, *_low_rank(lineage), vector]


def _low_rank(lineage: Lineage) -> list[Remedy]:
    why = "A low-rank adapter learns less and forgets less than full training (Biderman et al. 2024)."
    changes = []
    for stage in lineage.training:
        if getattr(stage, "method", None) == "full":
            changes.append(_set(lineage, stage, "method", "lora"))
            if getattr(stage, "learning_rate", None) is not None:  # one for all weights is too low for an adapter
                changes.append(_set(lineage, stage, "learning_rate", None))
    return [Remedy("LoRA", why, changes)] if changes else []


def _more_replay(lineage: Lineage) -> list[Remedy]:
    why = "More general text among the documents: replay keeps what was known (Ibrahim et al. 2024)."
    for stage in lineage.stages("cpt"):
        if getattr(stage, "replay", None) is not None and stage.replay_share < _REPLAY_AT_MOST:
            share = min(_REPLAY_AT_MOST, max(_REPLAY_AT_LEAST, round(2 * stage.replay_share, 2)))
            return [Remedy("more replay", why, [_set(lineage, stage, "replay_share", share)])]
        mixed = lineage.behind(stage, "mix")
        shares = dict(getattr(mixed, "shares", None) or {})
        # The general channel is the one that no `split` step stands behind: the trade's own documents are held out of.
        general = [name for name in shares if mixed and not _trade(lineage, mixed.channels.get(name))]
        if mixed is not None and len(general) == 1 and len(shares) > 1 and shares[general[0]] < _REPLAY_AT_MOST:
            return [Remedy("more replay", why, [_set(lineage, mixed, "shares", _shifted(shares, general[0]))])]
    return []


def _trade(lineage: Lineage, channel: Step[Any] | None) -> bool:
    return channel is None or lineage.behind(channel, "split") is not None


def _shifted(shares: dict[str, float], general: str) -> dict[str, float]:
    total = sum(shares.values())
    share = min(_REPLAY_AT_MOST, max(_REPLAY_AT_LEAST, 2 * shares[general] / total))
    left = (1 - share) / (1 - shares[general] / total)
    return {name: round(share if name == general else value / total * left, 4) for name, value in shares.items()}


def _contamination(lineage: Lineage, seen: Seen, sources: Sequence[Step[Any]], exam: Any | None) -> list[Remedy]:
    """Cut leaking documents behind their source; let the exam leave out what leaking conversations hold."""
    leaking = [sources[part.source] for part in seen.leaked or [] if part.items]
    tasks = [f"${lineage.name(step)}" for step in exam.tasks] if exam is not None else []
    cuts, unasked = [], []
    for source in leaking:
        name = lineage.name(source)
        if not issubclass(source.makes, Documents):
            unasked += [f"${name}"] if f"${name}" not in tasks and issubclass(source.makes, Conversations) else []
        elif "decontaminate" in STEPS and tasks and exam is not None:
            entry = {"step": "decontaminate", "corpus": f"${name}", "tasks": tasks}
            cuts.append(Cut(source, f"{name}-clear", entry, tuple(exam.tasks)))
    found, changes = [], _cut(lineage, cuts)
    if exam is not None and unasked:
        changes.append({"step": lineage.name(exam), "field": "tasks", "from": tasks, "to": [*tasks, *unasked]})
    if changes:
        why = (
            "Leave out documents that hold items of the exam, and name such conversations in the exam, which then asks "
            "nothing that stands in them. Examine all models again."
        )
        found.append(Remedy("decontaminate", why, changes))
    why = "Take the items listed here out of the training data and train again, or leave them out of the exam."
    return [*found, Remedy("take them out", why, [])]


def _drift(lineage: Lineage, fault: str, worst: set[str]) -> list[Remedy]:
    preferred = lineage.stages("dpo")
    found = []
    if preferred:
        why = {
            "length_drift": "A stronger pull to the reference model: preference training lengthens answers.",
            "refusal_drift": "A stronger pull to the reference model: preference training may teach refusals.",
            "format_drift": "A stronger pull to the reference model keeps the form that fine-tuning taught.",
        }[fault]
        beta = preferred[-1].beta or _BETA
        found.append(Remedy("stronger reference", why, [_set(lineage, preferred[-1], "beta", 2 * beta)]))
    if fault != "format_drift" or "general_length" in worst or not found:
        found += _rehearse(
            lineage, "The origin's own replies among the rows keep how it answers what is not the trade."
        )
    found += _gentler(lineage, "A lower rate moves the model less from how it answered.")
    advice = "Read the trained answers: a model answers as long, as willingly and in the form as they do."
    return [*found, Remedy("training data", advice, [])]


def _rehearse(lineage: Lineage, why: str) -> list[Remedy]:
    """Put the origin's replies among the rows of the last fine-tuning, or more of them."""
    tuned, origin = lineage.stages("sft"), lineage.origin()
    if not tuned or origin is None or "rehearsal" not in STEPS:
        return []
    data = list(tuned[-1].data)
    known = next((step for step in data if step.name == "rehearsal"), None)
    if known is not None:
        more = min(_ALL_PROMPTS, 2 * known.prompts)
        return [Remedy("rehearsal", why, [_set(lineage, known, "prompts", more)])] if more > known.prompts else []
    entry = {"step": "rehearsal", "origin": f"${lineage.name(origin)}", "prompts": _REHEARSAL_PROMPTS}
    name = _free("rehearsal", lineage)
    given = lineage.plain(tuned[-1].data)
    insert = {"insert": {"name": name, "entry": entry}, "after": lineage.name(origin)}
    change = {"step": lineage.name(tuned[-1]), "field": "data", "from": given, "to": [*given, f"${name}"]}
    return [Remedy("rehearsal", why, [insert, change])]


def _gentler(lineage: Lineage, why: str) -> list[Remedy]:
    """Halve the learning rate of every stage."""
    rates = [(step, _rate(step)) for step in lineage.training]
    changes = [_set(lineage, step, "learning_rate", rate / 2) for step, rate in rates if rate is not None]
    return [Remedy("lower rate", why, changes)] if changes else []


def _rate(step: Any) -> float | None:
    """Return a training's learning rate, be it written or the method's own."""
    written = getattr(step, "learning_rate", None)
    found = written if written is not None or not hasattr(step, "default_rate") else step.default_rate()
    return float(found) if found is not None else None


class Cut(NamedTuple):
    """A new step, `name: entry`, that leaves something of `source` out.

    What it holds itself (`held`) goes on holding `source`: the recipe would go round in a circle.
    """

    source: Step[Any]
    name: str
    entry: Change
    held: tuple[Step[Any], ...] = ()


def _cut(lineage: Lineage, cuts: Sequence[Cut]) -> list[Change]:
    """Put each new step behind its source, and let what the training holds of the source hold the new step."""
    changes: list[Change] = []
    fields: dict[tuple[str, str], tuple[Any, Any]] = {}  # (step, field) → what it says, what it is to say
    for cut in cuts:
        name = _free(cut.name, lineage)
        changes.append({"insert": {"name": name, "entry": cut.entry}, "after": lineage.name(cut.source)})
        before_it = {lineage.folder(step) for step in dependencies_first(list(cut.held))}
        for holder, field in lineage.holders(cut.source):
            if lineage.folder(holder) not in before_it:
                place = lineage.name(holder), field
                said, meant = fields.get(place) or (lineage.plain(getattr(holder, field)),) * 2
                fields[place] = said, _replaced(meant, f"${lineage.name(cut.source)}", f"${name}")
    return changes + [
        {"step": step, "field": field, "from": said, "to": meant} for (step, field), (said, meant) in fields.items()
    ]


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new if value == old else value


def _free(name: str, lineage: Lineage) -> str:
    taken, number = set(lineage.names.values()), 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _set(lineage: Lineage, step: Any, field: str, to: Any) -> Change:
    return {"step": lineage.name(step), "field": field, "from": lineage.plain(getattr(step, field)), "to": to}
