"""The seven faults: what is looked at, which bound it is held to and why, and three examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metier.evaluate import perplexity
from metier.evaluate.doctor.answers import Pair, Row, Sitting, examples
from metier.evaluate.doctor.arithmetic import (
    Measured,
    factor_beyond,
    perplexity_above,
    rise_above,
    share_above,
)
from metier.evaluate.doctor.symptoms import goes_round, refuses, wrong_form
from metier.evaluate.doctor.trained_on import FEW, Ends, Leaked, Repeats

_LEAST_ITEMS = 8  # of fewer nothing can be said: one of them alone would be a large share
SHARE_BOUND = 0.05
RUN_ON_BOUND, RUN_ON_ALONE = 0.1, 0.5
TEXT_BOUND, REPLY_BOUND = 0.1, 0.2
LENGTH_FACTOR = 2.0
REPEATED_BOUND = 0.1


class Seen(NamedTuple):
    """What the doctor looks at.

    tokens: counts the tokens of a text. ends, repeats and leaked are None where no training data or exam was named;
    `repeats` and `leaked` are by source. asked: items of the exam that were looked for, `questions` of them in other
    words too. taught: whether the model was trained on conversations, as far as is known.
    """

    sitting: Sitting
    tokens: Callable[[str], int]
    ends: Ends | None
    repeats: list[Repeats] | None
    leaked: list[Leaked] | None
    asked: int
    questions: int
    taught: bool


class Looked(NamedTuple):
    """One fault looked for: its tests (none: it could not be), and what to show if one of them finds it.

    unchecked: what could not be looked at, and why.
    """

    fault: str
    title: str
    reason: str
    tests: list[Measured]
    evidence: list[dict[str, str]]
    unchecked: str | None = None


def look(seen: Seen) -> list[Looked]:
    """Return all seven, in the order in which they are best mended: each may be the cause of those after it."""
    return [
        missing_end_token(seen),
        repetition(seen),
        forgetting(seen),
        contamination(seen),
        length_drift(seen),
        refusal_drift(seen),
        format_drift(seen),
    ]


def missing_end_token(seen: Seen) -> Looked:
    """Answers that run to the limit where the reference takes at most half of it; and how trained answers end."""
    tests, evidence = [], []
    if seen.ends is not None and seen.ends.rows:
        wrong = len(seen.ends.wrong)
        words = f"{wrong:,} of {seen.ends.rows:,} trained answers do not end with a token at which a server stops"
        tests.append(_exact("trained_answers", words, wrong, 0, "answers", seen.ends.rows))
        evidence += [{"where": "training data", "said": said, "why": why} for said, why in seen.ends.wrong[:2]]
    limit = seen.sitting.max_tokens
    pairs = [] if limit is None else seen.sitting.free(lambda pair: seen.tokens(pair.expected) <= limit / 2)
    pairs = [pair for pair in pairs if not any(map(_stopped_by_harness, (pair.row, pair.before or pair.row)))]
    what = "answers run to the limit where the reference takes half of it at most"
    alone = [pair._replace(before=None) for pair in pairs]
    if seen.sitting.against is not None:
        tests += _share("run_on", what, seen, pairs, _cut, RUN_ON_BOUND)
    if seen.taught:
        # Half of all: chat models like to explain, and one that was trained on short answers has learnt to stop.
        tests += _share("run_on_alone", what, seen, alone, _cut, RUN_ON_ALONE)
    evidence += examples((pair, f"cut at {limit} tokens") for pair in pairs if not pair.row["finished"])
    return Looked(
        "missing_end_token",
        "Answers that do not end",
        "10 points more answers than the other model's may run to the limit, and where the model was trained on "
        "answers no more than half of all: a longer style makes a few run over, a token that was never learnt nearly "
        "all. Of the trained answers, every one must end with a token at which servers stop.",
        tests,
        evidence[:3],
        _nothing_short(pairs, limit)
        or (None if tests else "no other model to hold it against, and no training on conversations is named"),
    )


def _nothing_short(pairs: Sequence[Pair], limit: int | None) -> str | None:
    if len(pairs) >= _LEAST_ITEMS:
        return None
    return f"fewer than {_LEAST_ITEMS} answers have a reference of half the limit ({limit} tokens): raise `max_tokens`"


def _cut(row: Row, _: str) -> bool:
    return not row["finished"]


def _stopped_by_harness(row: Row) -> bool:
    """Whether the examination ended an answer because its statement was whole: it says nothing about the end token."""
    return row["name"] == "execution" and bool(row["finished"]) and str(row["answer"]).endswith("\n")


def repetition(seen: Seen) -> Looked:
    """Answers that go round in circles; and text that is trained on again and again."""
    pairs = seen.sitting.free()

    def circles(row: Row, expected: str) -> str | None:
        return goes_round(str(row["answer"]), expected)

    tests = _share("loops", "answers go round in circles", seen, pairs, circles, SHARE_BOUND)
    evidence = examples((pair, why) for pair in pairs if (why := circles(pair.row, pair.expected)))[:2]
    for number, found in enumerate(seen.repeats or []):
        name, which = f"repeated_text_{number + 1}", f"training data {number + 1}"
        words = f"{found.share:.0%} of the characters of {which} stand in lines that came {FEW} times before"
        tests.append(_exact(name, words, found.share, REPEATED_BOUND, "share", 1))
        if found.share > REPEATED_BOUND:
            evidence += [{"where": which, "said": line[:200], "why": f"{n:,} times"} for n, line in found.worst[:2]]
    return Looked(
        "repetition",
        "Answers that go round in circles",
        "5 points more than the other model's answers may loop (people's text: about 1%, Welleck et al. 2020). Of the "
        "training text 10% may be fifth or later copies: up to four passes teach as new text does (Muennighoff et al. "
        "2023), and a tenth of the tokens repeated a hundred times cost a model half its size (Hernandez et al. 2022).",
        tests,
        evidence[:3],
        None if tests else "there are no free answers to read",
    )


def forgetting(seen: Seen) -> Looked:
    """General texts, and the other model's replies to general requests, that became less likely."""
    title, tests, evidence = "What was forgotten", [], []
    reason = (
        f"The perplexity of general texts may rise by {TEXT_BOUND:.0%}, that of the origin's own replies by "
        f"{REPLY_BOUND:.0%}: replies were the origin's likeliest words, so any change shows in them. The demo's model, "
        "continued on a manual with a share of general text and fine-tuned, moved by -3% and +3%."
    )
    if seen.sitting.against is None:
        return Looked("forgetting", title, reason, [], [], "it takes an examination of the origin: `against`")
    for name, what, bound, wanted in (
        ("general_text", "perplexity of general texts", TEXT_BOUND, perplexity.TEXT),
        ("general_replies", "perplexity of the origin's replies", REPLY_BOUND, perplexity.REPLY),
    ):
        pairs = seen.sitting.losses(lambda place, wanted=wanted: place.name == wanted and place.split.startswith("gen"))  # type: ignore[misc]
        pairs = [pair for pair in pairs if pair.before is not None and pair.before["tokens"]]
        if len(pairs) < _LEAST_ITEMS:
            continue
        before, after = [p.before["nats"] for p in pairs if p.before], [p.row["nats"] for p in pairs]
        units = [float(p.before["tokens"]) for p in pairs if p.before]
        interval, p, sees = perplexity_above(before, after, units, [pair.cluster for pair in pairs], bound)
        words = (
            f"{what} {interval.value:+.1%} [{interval.low:+.1%}, {interval.high:+.1%}] against {seen.sitting.against}"
        )
        bounds = (interval.low, interval.high)
        tests.append(Measured(name, what, interval.value, bound, "relative rise", bounds, len(pairs), p, sees, words))
        rises = sorted(((a - b) / u, pair) for a, b, u, pair in zip(after, before, units, pairs, strict=True))
        evidence += [
            {"where": "/".join(pair.place), "said": "", "why": f"perplexity x {math.exp(min(rise, 50)):.2f}"}
            for rise, pair in rises[:-3:-1]
        ]
    why = f"the exam holds fewer than {_LEAST_ITEMS} general texts and replies: give the `exam` step `general`"
    return Looked("forgetting", title, reason, tests, evidence[:3], None if tests else why)


def contamination(seen: Seen) -> Looked:
    """Items of the exam that stand in the training data."""
    title = "Exam questions in the training data"
    reason = (
        "Word for word, none may stand there: an item that was trained on measures memory. In other words, 1% of the "
        "questions may be taken for known: so many false alarms does the search raise on clean data at the most."
    )
    if seen.leaked is None:
        why = "it takes the training data and the exam: `trained_on`, `exam`"
        return Looked("contamination", title, reason, [], [], why)
    # An item that one source holds word for word and another in other words is copied.
    found = {leak.id: leak for part in seen.leaked for leak in part.items if leak.kind == "reworded"}
    found |= {leak.id: leak for part in seen.leaked for leak in part.items if leak.kind == "verbatim"}
    copied = [leak for leak in found.values() if leak.kind == "verbatim"]
    alike = [leak for leak in found.values() if leak.kind == "reworded"]
    words = f"{len(copied):,} of {seen.asked:,} items of the exam stand in the training data word for word"
    tests = [_exact("copied", words, len(copied), 0, "items", seen.asked)]
    if seen.questions >= _LEAST_ITEMS:
        interval, p, sees = share_above([at < len(alike) for at in range(seen.questions)], range(seen.questions), 0.01)
        bounds = (interval.low, interval.high)
        words = f"{len(alike)} of {seen.questions} questions stand there in other words"
        what = "questions stand in the training data in other words"
        tests.append(Measured("reworded", what, interval.value, 0.01, "share", bounds, seen.questions, p, sees, words))
    evidence = [
        {
            "where": leak.id,
            "said": leak.evidence[:400],
            "expected": leak.exam[:400],
            "why": f"{leak.kind} in {leak.where}",
        }
        for leak in (*copied, *alike)[:3]
    ]
    return Looked("contamination", title, reason, tests, evidence)


def length_drift(seen: Seen) -> Looked:
    """Answers much longer or shorter than the references, for the trade and for general requests."""
    tests, evidence = [], []
    for name, what, general in (("length", "answers", False), ("general_length", "replies to general requests", True)):
        # Answers that ended by themselves: how long the others would be is not known, and they are another fault.
        pairs = [pair for pair in seen.sitting.free() if pair.general == general and pair.row["finished"]]
        pairs = [pair for pair in pairs if pair.expected]
        if len(pairs) < _LEAST_ITEMS:
            continue
        logs = [_length(pair.row, pair, seen) for pair in pairs]
        interval, p, sees = factor_beyond(logs, [pair.cluster for pair in pairs], LENGTH_FACTOR)
        bounds = (interval.low, interval.high)
        words = f"{what} are {interval.value:.2f} times as long as the references [{bounds[0]:.2f}, {bounds[1]:.2f}]"
        if seen.sitting.against is not None:
            theirs = math.fsum(_length(pair.before or pair.row, pair, seen) for pair in pairs) / len(pairs)
            words += f", {seen.sitting.against}'s {math.exp(theirs):.2f} times"
            if abs(theirs) >= abs(math.log(interval.value)):
                p = 1.0  # it came nearer to the references: a fault perhaps, but no drift
        tests.append(
            Measured(
                name, what, interval.value, LENGTH_FACTOR, "times the reference", bounds, len(pairs), p, sees, words
            )
        )
        far = sorted(zip(logs, pairs, strict=True), key=lambda entry: -abs(entry[0]))
        evidence += examples((pair, f"{math.exp(log):.1f} times as long as the reference") for log, pair in far[:2])
    return Looked(
        "length_drift",
        "Answers that grew or shrank",
        "On the geometric mean, answers that end may be between half and twice as long as the references (for general "
        "requests: the origin's replies). Preference training is known to lengthen answers by such factors without "
        "making them better (Singhal et al. 2023, Park et al. 2024).",
        tests,
        evidence[:3],
        None if tests else f"there are fewer than {_LEAST_ITEMS} free answers with a reference",
    )


def _length(row: Row, pair: Pair, seen: Seen) -> float:
    # + 1: the token that ends it, so that an empty answer has a length too
    return math.log((row["tokens"] + 1) / (seen.tokens(pair.expected) + 1))


def refusal_drift(seen: Seen) -> Looked:
    """Answers that refuse what the reference answers."""
    pairs = seen.sitting.free()

    def refused(row: Row, expected: str) -> str | None:
        return refuses(str(row["answer"]), expected)

    return Looked(
        "refusal_drift",
        "Answers that refuse",
        "5 points more than the other model's may refuse. The exam asks nothing that should be refused; whether a "
        "model still refuses what it should is not seen here.",
        _share("refusals", "answers refuse", seen, pairs, refused, SHARE_BOUND),
        examples((pair, why) for pair in pairs if (why := refused(pair.row, pair.expected))),
        None if len(pairs) >= _LEAST_ITEMS else f"there are fewer than {_LEAST_ITEMS} free answers",
    )


def format_drift(seen: Seen) -> Looked:
    """Answers without the form of the reference: empty, no JSON, no fence, no SQL or SQL unasked, other letters."""
    pairs = seen.sitting.free()

    def formless(row: Row, expected: str) -> str | None:
        return wrong_form(str(row["answer"]), expected)

    return Looked(
        "format_drift",
        "Answers of another form",
        "5 points more than the other model's may lack the form of the reference: programs that read them break there.",
        _share("form", "answers lack the reference's form", seen, pairs, formless, SHARE_BOUND),
        examples((pair, why) for pair in pairs if (why := formless(pair.row, pair.expected))),
        None if len(pairs) >= _LEAST_ITEMS else f"there are fewer than {_LEAST_ITEMS} free answers",
    )


def _share(
    name: str,
    what: str,
    seen: Seen,
    pairs: Sequence[Pair],
    reason: Callable[[Row, str], object],
    bound: float,
) -> list[Measured]:
    """Return the test of a share of answers: against the other model's, item by item, or alone. None of too few."""
    if len(pairs) < _LEAST_ITEMS:
        return []
    flags = [bool(reason(pair.row, pair.expected)) for pair in pairs]
    clusters = [pair.cluster for pair in pairs]
    share = sum(flags) / len(flags)
    if any(pair.before is None for pair in pairs):
        interval, p, seen_share = share_above(flags, clusters, bound)
        bounds = (interval.low, interval.high)
        words = f"{share:.0%} of {len(flags)} {what} [{bounds[0]:.0%}, {bounds[1]:.0%}]"
        return [
            Measured(name, what, share, bound, "share", (interval.low, interval.high), len(flags), p, seen_share, words)
        ]
    theirs = [bool(reason(pair.before, pair.expected)) for pair in pairs if pair.before is not None]
    interval, p, sees = rise_above(theirs, flags, clusters, bound)
    before = sum(theirs) / len(theirs)
    words = f"{share:.0%} of {len(flags)} {what}, {before:.0%} of {seen.sitting.against}'s"
    bounds = (interval.low, interval.high)
    return [Measured(name, what, interval.value, bound, "rise of the share", bounds, len(flags), p, sees, words)]


def _exact(name: str, words: str, measured: float, bound: float, unit: str, n: int) -> Measured:
    """Return a fact that was counted and not estimated."""
    return Measured(name, words, measured, bound, unit, None, n, 0.0 if measured > bound else 1.0, None, words)
