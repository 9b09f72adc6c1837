"""The step that merges a LoRA adapter into its base, and proves that the merged model says what both said together."""

from __future__ import annotations

import gc
import itertools
import shutil
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from metier.core import Artifact, Estimate, Failure, Host, LocalPath, Step, Work
from metier.core.files import write_json_atomic
from metier.core.journal import append_to_journal, read_journal
from metier.core.types import HELD_OUT, Conversations, Model
from metier.train.weights.merge_models import Format, estimate_of_copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from metier.train.weights.adapter import Adapter
    from metier.train.weights.closeness import Closeness, Row, Said
    from metier.train.weights.reading import Span
    from metier.train.weights.writing import Produce

_DONE = "merge.json"
_ROUNDING = ".rounding.jsonl"


class Way(NamedTuple):
    """One way to merge: onto the base's 16-bit weights, or onto those weights as the 4-bit training saw them."""

    name: Literal["16-bit", "4-bit"]
    folder: Path


class Tried(NamedTuple):
    """How one way came out. lost: rounding error over the adapter's change, by length. loss: on the rows' answers."""

    way: str
    lost: float
    closeness: Closeness | None
    loss: float | None


class MergeAdapter(Step[Model]):
    """Merge a LoRA adapter into its base model, tensor by tensor, and compare what comes out with base + adapter.

    Understands rank and alpha patterns, rsLoRA, DoRA, whole modules that were trained along, and embeddings; parts tied
    embeddings where the adapter trained only one of the two. An adapter that was trained on a 4-bit base is merged
    both ways, onto the 16-bit weights and onto the weights that the training saw, and the better one is kept.
    """

    name: ClassVar[str] = "merge-adapter"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    base: Step[Model] = Field(description="the model that the adapter was trained on, in 16 or 32 bits")
    adapter: Step[Artifact] | None = Field(None, description="the step whose folder holds the adapter")
    adapter_folder: LocalPath | None = Field(None, description="a local adapter folder, instead of `adapter`")
    trained_on: Literal["16-bit", "nf4", "nf4-double"] = Field(
        "16-bit", description="what the base's weights were in training: nf4-double is QLoRA with double quantisation"
    )
    rows: Step[Conversations] | None = Field(
        None,
        description="conversations on which both are compared, held-out ones first; some general text if not given",
    )
    row_count: int = Field(12, ge=1, description="at most this many of `rows`")
    check: bool = Field(True, description="run both models and compare; without it only rounding is measured")
    bound: float = Field(0.01, gt=0, description="most nats that the mean divergence from base + adapter may reach")
    dtype: Format = Field("own", description="number format of the result; own: that of the base")
    shard_gigabytes: float = Field(4.0, gt=0, description="largest file of weights, in 2^30 bytes")

    @model_validator(mode="after")
    def _one_adapter(self) -> MergeAdapter:
        if (self.adapter is None) == (self.adapter_folder is None):
            raise ValueError("give either `adapter` or `adapter_folder`")
        if self.trained_on != "16-bit" and not self.check:
            raise ValueError("which way is better is found by running both: `check: false` needs `trained_on: 16-bit`")
        return self

    def run(self, work: Work) -> None:
        """Merge, compare, keep the better; what a killed attempt wrote is kept."""
        from metier.train.weights.adapter import Adapter, adapter_folder
        from metier.train.weights.folder import ModelFolder

        base = ModelFolder(work.made(self.base).model_folder, "the base")
        if self.adapter is not None:
            folder = adapter_folder(work.made(self.adapter).folder)
        else:
            assert self.adapter_folder is not None
            folder = adapter_folder(self.adapter_folder.path)
        adapter = Adapter(folder, base)
        if adapter.unties:
            work.warn("the adapter trained input and output embeddings apart: the merged model has a head of its own")
        ways = [Way("16-bit", work.folder / ".merged-16-bit")]
        if self.trained_on != "16-bit":
            ways.append(Way("4-bit", work.folder / ".merged-4-bit"))
        target = work.folder / "model"
        if not target.is_dir():
            tried = self._try(work, adapter, ways)
            self._keep(work, ways, tried, target)
        for way in ways:
            shutil.rmtree(way.folder, ignore_errors=True)
        count = len(base.names)
        work.count("tensor", count, count, made={"tensor": count})
        self._tell(work, len(adapter.changed))

    def estimate(self, host: Host) -> Estimate | None:
        """Return what writing takes; None where the model's shape is not known."""
        return estimate_of_copy(self.base, 1)

    def _try(self, work: Work, adapter: Adapter, ways: list[Way]) -> list[Tried]:
        from metier.train.network import load_tokenizer
        from metier.train.weights.closeness import closeness, load, precision_for, rows_of, said

        precision = precision_for(adapter.base, work.host) if self.check else None
        lost = [self._write(work, adapter, way) for way in ways]
        if precision is None:
            return [Tried(way.name, one, None, None) for way, one in zip(ways, lost, strict=True)]
        rows = rows_of(load_tokenizer(adapter.base.folder), self._conversations(work))
        before, reference = self._references(work, adapter, rows, precision)
        effect = closeness(reference, before)
        tried = []
        for way, one in zip(ways, lost, strict=True):
            network = load(way.folder, precision, work.host)
            found = said(network, rows)
            del network
            gc.collect()
            tried.append(Tried(way.name, one, closeness(reference, found), found.loss))
        work.event("effect", **effect._asdict(), loss_before=before.loss, loss=reference.loss)
        return tried

    def _references(self, work: Work, adapter: Adapter, rows: list[Row], precision: torch.dtype) -> tuple[Said, Said]:
        """Return what the base says as the training saw it, and what base and adapter say together."""
        from peft import PeftModel

        from metier.train.weights.closeness import load, said, with_weights
        from metier.train.weights.four_bit import is_rounded, rounded

        network = load(adapter.base.folder, precision, work.host)
        if self.trained_on != "16-bit":
            kept = {adapter.base.inputs, adapter.base.outputs}
            kind = self.trained_on
            places = adapter.base.weights.places

            def four_bit(name: str, values: torch.Tensor) -> torch.Tensor | None:
                if name not in places or not is_rounded(name, tuple(values.shape), kept):
                    return None
                return rounded(adapter.base.weights.read(name), kind).to(values)

            with_weights(network, four_bit)
        before = said(network, rows)
        both = PeftModel.from_pretrained(network, str(adapter.folder)).eval()
        together = said(both, rows)
        del network, both
        gc.collect()
        return before, together

    def _write(self, work: Work, adapter: Adapter, way: Way) -> float:
        """Write one merged model; return the rounding error in parts of the adapter's change, both by length."""
        from metier.train.weights.adapter import plans_with
        from metier.train.weights.folder import write_folder

        base = adapter.base
        plans = plans_with(adapter, base.plans(None if self.dtype == "own" else self.dtype))
        way.folder.mkdir(exist_ok=True)
        rounding = _Rounding({name: plan.dtype for name, plan in plans.items()}, way.folder / _ROUNDING)
        kind = self.trained_on if way.name == "4-bit" else None
        changes: dict[str, Any] = {"tie_word_embeddings": False} if adapter.unties else {}
        write_folder(
            *(work, way.folder, base, plans, _merging(adapter, rounding, kind)),
            *(round(self.shard_gigabytes * 2**30), changes, f"merging onto {way.name} weights"),
        )
        return rounding.share

    def _conversations(self, work: Work) -> list[Any]:
        if self.rows is None:
            return []
        given = work.made(self.rows)
        held_out = list(itertools.islice(given.rows(HELD_OUT), self.row_count))
        return held_out or list(itertools.islice(given.rows(), self.row_count))

    def _keep(self, work: Work, ways: list[Way], tried: list[Tried], target: Path) -> None:
        best = min(tried, key=better) if self.check else tried[0]
        if self.dtype == "own" and best.lost > MOST_LOST:
            raise Failure(
                "most of what the adapter changes is too small for the number format of the base",
                found=f"rounding lost {best.lost:.0%} of the change",
                hint="save the merged model with `dtype: float32`, or serve the adapter beside its base",
            )
        effect = _last(Artifact(work.folder).events("effect"))
        told = {
            "kept": best.way,
            "rule": RULE,
            "bound": self.bound,
            "tried": [
                {**one._asdict(), "closeness": one.closeness._asdict() if one.closeness else None} for one in tried
            ],
            "effect": effect,
        }
        write_json_atomic(work.folder / _DONE, told)
        if self.check:
            # Onto the weights that the training saw nothing but rounding may come between the two; that proves the
            # arithmetic of both ways.
            require(tried[-1], self.bound, effect["divergence"])
        kept = next(way.folder for way in ways if way.name == best.way)
        (kept / _ROUNDING).unlink(missing_ok=True)
        kept.rename(target)

    def _tell(self, work: Work, changed: int) -> None:
        import json

        told = json.loads((work.folder / _DONE).read_text())
        best = next(one for one in told["tried"] if one["way"] == told["kept"])
        work.figure("changed_tensors", changed)
        work.figure("kept", told["kept"])
        work.figure("lost_by_rounding", round(best["lost"], 6))
        if best["closeness"] is None:
            work.warn("nobody compared this model with base + adapter: `check` is off")
            return
        work.figure("divergence", best["closeness"]["divergence"])
        work.figure("effect", told["effect"]["divergence"])
        if len(told["tried"]) > 1:
            sentences = [
                f"{one['way']}: {one['closeness']['divergence']:.5f} nats from what was trained"
                + (f", {one['loss']:.4f} nats a token on the rows' answers" if one["loss"] is not None else "")
                for one in told["tried"]
            ]
            work.say(f"merged both ways, kept {told['kept']} ({'; '.join(sentences)})")


MOST_LOST = 0.5
"""Most of an adapter's change, by length, that rounding to the base's own format may lose.

Weights of a 16-bit base lie on its grid: what is less than half a step from it is gone, and does not average out.
"""

RULE = "the lower loss on the rows' answers, if rows were given and the losses differ by over 0.001 nats; else nearer"


def better(one: Tried) -> tuple[float, float]:
    """Return what ways to merge are sorted by: loss on the rows' answers to 0.001 nats, then divergence."""
    assert one.closeness is not None
    return (round(one.loss, 3) if one.loss is not None else 0.0, one.closeness.divergence)


def require(one: Tried, bound: float, effect: float) -> None:
    """Raise Failure if a merged model does not say what base and adapter say together.

    Args:
        one: the merge onto the weights that the training saw.
        effect: how far base + adapter is from the base alone. A merge that lost the adapter is that far away, so that
            it must also be much nearer.
    """
    found = one.closeness
    assert found is not None
    limit = min(bound, max(effect / 4, 1e-6))
    if found.divergence <= limit:  # never true of a divergence that is no number
        return
    raise Failure(
        "the merged model does not say what base and adapter say together",
        found=f"mean divergence {found.divergence:.5f} nats over {found.tokens} tokens, allowed {limit:.5f}; the "
        f"adapter itself moves the base by {effect:.5f}; rounding lost {one.lost:.1%} of its change",
        hint="save it with `dtype: float32` if rounding lost much of the change; otherwise the base, or what "
        "`trained_on` says of it, is another than in the adapter's training",
    )


class _Rounding:
    """Adds up how much of a change is lost when the sum is saved in a coarser format.

    What was seen of a tensor is kept in a journal, as the shards of a killed attempt are not made again.
    """

    def __init__(self, dtypes: dict[str, str], journal: Path) -> None:
        self._dtypes, self._journal = dtypes, journal

    def see(self, name: str, pieces: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[torch.Tensor]:
        """Yield the merged tensors of pairs (start, merged), and write down what saving them will lose."""
        from metier.train.weights.reading import DTYPES

        error = change = 0.0
        for start, merged in pieces:
            lost = merged.to(DTYPES[self._dtypes[name]]).float() - merged
            error += float(lost.norm()) ** 2
            change += float((merged - start.float()).norm()) ** 2
            yield merged
        append_to_journal(self._journal, [[name, error, change]])

    @property
    def share(self) -> float:
        """Length of the rounding error over that of the change, 0 where nothing changed."""
        rows = {name: (error, change) for name, error, change in read_journal(self._journal)}
        change = sum(row[1] for row in rows.values())
        return float((sum(row[0] for row in rows.values()) / change) ** 0.5) if change else 0.0


def _merging(adapter: Adapter, rounding: _Rounding, kind: Any) -> Produce:
    from metier.train.weights.adapter import source_of
    from metier.train.weights.four_bit import is_rounded, rounded
    from metier.train.weights.reading import spans

    base = adapter.base

    def starts(source: str) -> Iterator[tuple[torch.Tensor, Span | None]]:
        shape = base.weights.shape(source)
        if kind is None or not is_rounded(source, shape, {base.inputs, base.outputs}):
            for span in spans(shape):
                yield base.weights.read(source, span), span
            return
        whole = rounded(base.weights.read(source), kind)
        for span in spans(shape):
            yield (whole[span.first : span.end] if span else whole), span

    def produce(name: str) -> Iterator[torch.Tensor]:
        found = starts(source_of(adapter, name))
        if name in adapter.changed:
            return rounding.see(name, ((start, adapter.merged(name, start, span)) for start, span in found))
        return (start for start, _ in found)

    return produce


def _last(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in events[-1].items() if name not in ("time", "kind")} if events else {}
