"""The step that makes one model of several that were trained from the same base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from metier.core import Estimate, Host, Step, Work
from metier.core.types import Model
from metier.train.memory import config_of, parameters

if TYPE_CHECKING:
    from metier.train.weights.folder import ModelFolder
    from metier.train.weights.writing import Produce

Format = Literal["own", "float32", "bfloat16", "float16"]
Method = Literal["linear", "slerp", "task-arithmetic", "ties", "dare", "dare-ties"]

_ON_BASE = ("task-arithmetic", "ties", "dare", "dare-ties")


class MergeModels(Step[Model]):
    """Make one model of several of the same family, tensor by tensor; none is ever in memory whole.

    linear: weighted mean. slerp: along the arc between two. task-arithmetic: base + Σ weight · (model - base).
    ties: task vectors trimmed to their largest values, signs elected, those that agree averaged. dare: task vectors
    of which a random share is kept and rescaled. dare-ties: both. Nothing says beforehand that a merge is good:
    examine it beside its parents.
    """

    name: ClassVar[str] = "merge-models"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    models: tuple[Step[Model], ...] = Field(
        min_length=1, description="the models to merge; the first gives tokenizer and settings where there is no base"
    )
    base: Step[Model] | None = Field(
        None, description="what they were trained from; task-arithmetic, ties and dare need it"
    )
    method: Method = Field("linear", description="how the models are put together")
    weights: tuple[float, ...] | None = Field(None, description="one for each model; None: all alike, adding up to 1")
    t: float = Field(0.5, ge=0, le=1, description="slerp: where between the two models, 0 is the first")
    density: float = Field(0.5, gt=0, le=1, description="ties and dare: share of each task vector that is kept")
    scale: float = Field(1.0, description="what the merged task vector is multiplied by (λ)")
    seed: int = Field(0, description="dare: seed of what is dropped")
    dtype: Format = Field("own", description="number format of the result; own: that of the base, or first model")
    shard_gigabytes: float = Field(4.0, gt=0, description="largest file of weights, in 2^30 bytes")

    @model_validator(mode="after")
    def _fitting(self) -> MergeModels:
        if self.method in _ON_BASE and self.base is None:
            raise ValueError(f"`{self.method}` adds differences to a base: give `base`")
        if self.method == "slerp" and len(self.models) != 2:
            raise ValueError("`slerp` takes two models")
        if self.weights is not None and len(self.weights) != len(self.models):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models")
        if self.method == "linear" and abs(sum(self._weights())) < 1e-6:
            raise ValueError("the weights of a mean must not add up to 0")
        return self

    def run(self, work: Work) -> None:
        """Write the merged model, passing over the shards that a killed attempt finished."""
        from metier.train.weights.folder import ModelFolder, check_alike, check_vocabularies, write_folder

        steps = [*([self.base] if self.base is not None else []), *self.models]
        called = [*(["base"] if self.base is not None else []), *(f"models[{at}]" for at in range(len(self.models)))]
        folders = [ModelFolder(work.made(step).model_folder, name) for step, name in zip(steps, called, strict=True)]
        for other in folders[1:]:
            for told in check_alike(folders[0], other):
                work.warn(told)
            check_vocabularies(folders[0], other)
        plans = folders[0].plans(None if self.dtype == "own" else self.dtype)
        produce = self._produce(folders)
        write_folder(work, work.folder / "model", folders[0], plans, produce, round(self.shard_gigabytes * 2**30))
        work.count("tensor", len(plans), len(plans), made={"tensor": len(plans)})
        work.figure("method", self.method)
        work.figure("weights", list(self._weights()))

    def estimate(self, host: Host) -> Estimate | None:
        """Return what is written and held; None where the model's shape is not known."""
        return estimate_of_copy(self.base or self.models[0], len(self.models) + 1)

    def shape(self) -> dict[str, Any] | None:
        """Return the shape of the first model, which is that of the result."""
        return config_of(self.base or self.models[0])

    def _weights(self) -> tuple[float, ...]:
        return self.weights or (1 / len(self.models),) * len(self.models)

    def _produce(self, folders: list[ModelFolder]) -> Produce:
        from metier.train.weights import blocks

        models = folders[-len(self.models) :]
        if self.method == "linear":
            return blocks.mean(models, self._weights())
        if self.method == "slerp":
            return blocks.arc(models[0], models[1], self.t)
        thin: blocks.Thin | None = None
        if self.method == "ties":
            thin = blocks.trim(folders[0], models, self.density)
        elif self.method in ("dare", "dare-ties"):
            thin = blocks.drop(self.density, self.seed)
        return blocks.sums(folders[0], models, self._weights(), self.scale, thin, "ties" in self.method)


def estimate_of_copy(base: Step[Model], models: int) -> Estimate | None:
    """Return what it takes to write a model's weights once from `models` that are read; None if not known."""
    config = config_of(base)
    if config is None:
        return None
    try:
        count = parameters(config)
    except KeyError:
        return None
    # 0.4 GB/s read and reckoned on one core; a piece of each model in float32, twice.
    return Estimate(
        seconds=4 * count * models / 4e8, memory_bytes=(700 << 20) + models * (256 << 20), disk_bytes=4 * count
    )
