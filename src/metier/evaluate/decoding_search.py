"""The step that looks for a better way to draw answers than greedy, and gives the model that way as its default."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from metier.core import Mistake, Step, Work
from metier.core.chat import Decoding, Reply
from metier.core.files import write_json_atomic
from metier.core.types import TRAIN, Conversation, Conversations, Exam, Model, Shaped
from metier.evaluate import execution
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.decoding_default import write_model
from metier.evaluate.gate import ALPHA, Paired, chance, noise_floor
from metier.evaluate.halving import Round, Standing, halving, rounds
from metier.evaluate.material import read_material, sample_rows
from metier.evaluate.statistics import Interval, paired_difference

if TYPE_CHECKING:
    from metier.core.engine import EngineChat

_SHARE = 3  # one in so many goes on, as Hyperband's authors advise (Li et al. 2018)
_LEAST = 16  # items of a round; fewer say hardly anything of a candidate
_CLUSTERS = math.ceil(math.log2(1 / ALPHA))  # to confirm on: of fewer, no pattern of signs is as rare as 5%
_VALUES = {
    "temperatures": "temperature",
    "top_ps": "top_p",
    "top_ks": "top_k",
    "repetition_penalties": "repetition_penalty",
    "max_tokens": "max_tokens",
}
"""Fields of candidates' values, and what each is called in a decoding."""


class DecodingSearch(Step[Model]):
    """Search temperature, top-p, top-k, repetition penalty and answer length; keep greedy unless one is clearly better.

    Half of the rows are for the search. The best candidate then meets greedy on the other half, which no choice was
    made on: only if it is clearly better there does it become the model's default, in generation_config.json, from
    which the export, its Modelfile and the server take it. Examinations hold to the exam's own decoding for all models.
    """

    name: ClassVar[str] = "decoding-search"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model; its weights are linked and not copied.")
    tasks: tuple[Step[Conversations], ...] = Field(
        min_length=1, description="Conversations that can be graded, as an exam's `tasks`."
    )
    exam: Step[Exam] | None = Field(
        None, description="The exam whose figures will be reported: none of its rows is searched on."
    )
    split: str | None = Field(
        None, description="Rows of this split only; those of all splits but `train` if not given."
    )
    limit: int = Field(300, ge=2 * _LEAST, description="Rows at the most, taken evenly from their clusters.")
    temperatures: tuple[float, ...] = Field((0.0, 0.3, 0.7, 1.0), description="Temperatures; 0 is greedy.")
    top_ps: tuple[float, ...] = Field((1.0, 0.9), description="Nucleus shares; greedy has none.")
    top_ks: tuple[int, ...] = Field((0, 40), description="Likeliest tokens drawn from; 0 is all, greedy has none.")
    repetition_penalties: tuple[float, ...] = Field((1.0, 1.1), description="Repetition penalties; 1 is none.")
    max_tokens: tuple[int, ...] = Field((64,), min_length=1, description="Most tokens of an answer.")
    method: Literal["halving", "grid"] = Field(
        "halving", description="`halving` gives the worse two thirds up early; `grid` measures all on all rows."
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of the answers.")
    seed: int = Field(0, description="Draws the rows, the halves and the answers.")

    @field_validator(*_VALUES)
    @classmethod
    def _candidates_are_possible(cls, given: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        for value in given:
            try:
                Decoding.model_validate({_VALUES[str(info.field_name)]: value})
            except ValidationError as error:
                raise ValueError(f"{value:g} is none: {error.errors()[0]['msg'].lower()}") from error
        return given

    @property
    def candidates(self) -> list[Decoding]:
        """Every candidate once, greedy first: temperature 0 without a penalty and with the longest answer."""
        longest = max(self.max_tokens)
        found = [Decoding(max_tokens=longest, seed=self.seed)]
        for temperature, top_p, top_k, penalty, tokens in product(
            sorted(self.temperatures),
            sorted(self.top_ps, reverse=True),
            self.top_ks,
            sorted(self.repetition_penalties),
            sorted(self.max_tokens, reverse=True),
        ):
            drawn = {"top_p": top_p, "top_k": top_k} if temperature else {}
            told = {"temperature": temperature, "repetition_penalty": penalty, "max_tokens": tokens, **drawn}
            found.append(Decoding(**told, seed=self.seed))
        return list(dict.fromkeys(found))

    def run(self, work: Work) -> None:
        """Search, confirm, write decoding.json and the model with its new default."""
        from metier.core.engine import EngineChat

        candidates = self.candidates
        halves = self._halves(work)
        chat = EngineChat(work.made(self.model).model_folder, work.host, self.precision)
        log = AnswerLog(work.folder / "answers.jsonl")
        plan = [Round(len(candidates), len(halves.search))]
        if self.method == "halving":
            plan = rounds(len(candidates), len(halves.search), _SHARE, _LEAST)
        with work.progress("searching", sum(one.candidates * one.items for one in plan), "answers") as bar:

            def measure(some: Sequence[int], items: int) -> list[float]:
                return [_mean(answered(chat, halves.search[:items], candidates[at], log, bar.advance)) for at in some]

            standings = halving(len(candidates), plan, measure, always=(0,))
        best = _ranked(standings)[0]
        with work.progress("confirming", 2 * len(halves.confirm), "answers") as bar:
            pair = [answered(chat, halves.confirm, candidates[at], log, bar.advance) for at in (0, best)]
        found = confirmed([row["score"] for row in pair[0]], [row["score"] for row in pair[1]], halves.confirm)
        winner = candidates[best if best and found.chance <= ALPHA else 0]
        write_model(
            work.made(self.model).model_folder, work.folder / "model", winner, limited=len(set(self.max_tokens)) > 1
        )
        told = _told(candidates, standings, best, winner, found, len(halves.search))
        for row, at in zip(told["candidates"], _ranked(standings), strict=True):
            rows = halves.search[: standings[at].items]
            own, top = (answered(chat, rows, candidates[one], log) for one in (at, best))
            row |= _named(execution.grade_interval(own))
            if at != best:
                first, second = ([float(one["score"]) for one in answers] for answers in (top, own))
                row["minus_best"] = _named(paired_difference(first, second, [one.cluster or one.id for one in rows]))
        write_json_atomic(work.folder / "decoding.json", told)
        for name in ("winner", "greedy_kept", "confirmed"):
            work.figure(name, told[name])
        if told["greedy_kept"] and best:
            work.say(f"greedy stays: {label(candidates[best])} is not clearly better on rows that were not searched on")

    def shape(self) -> dict[str, Any] | None:
        """Return the shape of the model whose decoding is searched."""
        return self.model.shape() if isinstance(self.model, Shaped) else None

    def _halves(self, work: Work) -> Halves:
        rows = [
            row
            for step in self.tasks
            for row in work.made(step).rows(self.split)
            if row.check and (self.split or row.split != TRAIN)
        ]
        asked = read_material(work.made(self.exam).folder).rows if self.exam is not None else []
        taken = {row.id for row in asked} | {_question(row) for row in asked}
        free = [row for row in rows if row.id not in taken and _question(row) not in taken]
        chosen = sample_rows(free, self.limit, random.Random(self.seed))
        if len(chosen) < 2 * _LEAST:
            raise Mistake(
                f"a search needs {2 * _LEAST} rows that the exam does not ask",
                found=f"{len(rows)} rows that can be graded, {len(rows) - len(free)} of them in the exam",
                hint="lower the exam's `executed_per_split` and `prose_per_split`, or search on `split: train`",
            )
        dropped = {"asked by the exam": len(rows) - len(free), "over the limit": len(free) - len(chosen)}
        work.count("row", len(rows), len(chosen), {why: count for why, count in dropped.items() if count})
        halves = halved(chosen, random.Random(self.seed))
        require_both(halves)
        return halves


class Halves(NamedTuple):
    """Rows to search on and rows to confirm on; no cluster is in both."""

    search: list[Conversation]
    confirm: list[Conversation]


class Confirmed(NamedTuple):
    """The best candidate against greedy on rows that were not searched on.

    `difference` is best - greedy with its interval; `chance` the one-sided p-value that it is no better; `noise` the
    smallest gain that so many rows find with 80% power, None where they come in too few clusters to tell.
    """

    greedy: float
    best: float
    difference: Interval
    chance: float
    noise: float | None


def halved(rows: Sequence[Conversation], rng: random.Random) -> Halves:
    """Return two parts of about half of the rows each, in random order, with whole clusters."""
    clusters: dict[str, list[Conversation]] = {}
    for row in rows:
        clusters.setdefault(row.cluster or row.id, []).append(row)
    parts = Halves([], [])
    for cluster in sorted(rng.sample(sorted(clusters), len(clusters)), key=lambda one: -len(clusters[one])):
        min(parts, key=len).extend(clusters[cluster])
    for part in parts:
        rng.shuffle(part)
    return parts


def require_both(halves: Halves) -> None:
    """Raise Mistake if there is too little in one half to search on, or to confirm on."""
    clusters = len({row.cluster or row.id for row in halves.confirm})
    if min(map(len, halves)) < _LEAST or clusters < _CLUSTERS:
        raise Mistake(
            f"a search needs {_LEAST} rows to search on, and {_LEAST} others of {_CLUSTERS} clusters to confirm on",
            found=f"{len(halves.search)} rows and {len(halves.confirm)} of {clusters} clusters, none of them split",
            hint="give `tasks` with more rows, of more clusters; `limit` has to leave room for them",
        )


def answered(
    chat: EngineChat,
    rows: Sequence[Conversation],
    decoding: Decoding,
    log: AnswerLog,
    seen: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return the graded answers to `rows` under one decoding, asking for those that `log` does not hold yet."""
    name = label(decoding)
    places = [Place(name, row.split, row.id) for row in rows]
    left = [row for row, place in zip(rows, places, strict=True) if place not in log]
    seen(len(rows) - len(left))

    def done(at: int, replies: list[Reply]) -> None:
        log.add({**execution.graded(left[at], replies[0]), "name": name})
        seen(1)

    def until(at: int, text: str) -> bool:
        return execution.statement_is_whole(left[at], text)

    chat.complete([row.messages[:-1] for row in left], decoding, done, until)
    return [log.rows[place] for place in places]


def confirmed(greedy: Sequence[float], best: Sequence[float], rows: Sequence[Conversation]) -> Confirmed:
    """Return how two decodings compare on the same rows, in clusters."""
    clusters = [row.cluster or row.id for row in rows]
    losses = [g - b for g, b in zip(greedy, best, strict=True)]  # of greedy's, where the other is better
    pair = Paired([-loss for loss in losses], [1.0] * len(losses), clusters)
    tested = Paired(losses, pair.units, clusters)
    difference = paired_difference(greedy, best, clusters)
    return Confirmed(
        sum(greedy) / len(rows), sum(best) / len(rows), difference, chance(tested), noise_floor(pair, ALPHA)
    )


def label(decoding: Decoding) -> str:
    """Return a decoding in a few words."""
    parts = [f"temperature {decoding.temperature:g}" if decoding.temperature else "greedy"]
    parts += [f"top_p {decoding.top_p:g}"] * (decoding.top_p < 1) + [f"top_k {decoding.top_k}"] * (decoding.top_k > 0)
    parts += [f"repetition_penalty {decoding.repetition_penalty:g}"] * (decoding.repetition_penalty != 1)
    return ", ".join([*parts, f"{decoding.max_tokens} tokens"])


def _told(
    candidates: Sequence[Decoding],
    standings: Sequence[Standing],
    best: int,
    winner: Decoding,
    found: Confirmed,
    items: int,
) -> dict[str, Any]:
    last = max(one.round for one in standings)
    rows = [
        {
            "decoding": _plain(candidates[at]),
            "label": label(candidates[at]),
            "items": standings[at].items,
            "dropped_after_round": None if standings[at].round == last else standings[at].round + 1,
            "minus_best": None,
        }
        for at in _ranked(standings)
    ]
    return {
        "winner": _plain(winner),
        "greedy_kept": winner == candidates[0],
        "best_of_search": label(candidates[best]),
        "metric": "mean grade",
        "searched_items": items,
        "confirmed": {
            "items": found.difference.n,
            "greedy": found.greedy,
            "best": found.best,
            "difference": _named(found.difference),
            "chance": found.chance,
            "noise": found.noise,
        },
        "candidates": rows,
    }


def _ranked(standings: Sequence[Standing]) -> list[int]:
    """Return the candidates, those that came furthest first, the better first among them, the earlier of equals."""
    return sorted(range(len(standings)), key=lambda at: (-standings[at].round, -standings[at].mean, at))


def _named(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _plain(decoding: Decoding) -> dict[str, Any]:
    return decoding.model_dump(exclude={"seed", "samples"})


def _mean(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(float(row["score"]) for row in rows) / len(rows)


def _question(row: Conversation) -> str:
    return "\n".join(message.content for message in row.messages[:-1])
