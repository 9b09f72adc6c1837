"""Leave out documents that a sequence classifier of the Hugging Face library scores too low, or too high."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from metier.core import Host, Step, Work
from metier.core.types import Documents, Model
from metier.corpus.quality.filter import Cut, filter_by_score
from metier.corpus.scores import Scored

if TYPE_CHECKING:
    import pyarrow as pa

    from metier.corpus.quality.sequence import Settings

_MEMORY_BESIDE = 1 << 30  # of a worker, beside three times the weights: Python, torch and what a batch needs
# CUDA maps far more addresses than it uses, so a limit on addresses must be beyond what any machine has.
_ADDRESSES_OF_CUDA = 1 << 46


class ModelQuality(Step[Documents]):
    """Score documents with a sequence classifier (BERT, RoBERTa, …), and leave out those that score too low.

    The model comes from a step `hub` (an id with a pinned commit) or `local-model` (a folder). A long document is read
    in windows. The score is the probability of `label`, or the model's number where it has one output, as
    regressions of educational value have. All scores are in `scores/`.
    """

    name: ClassVar[str] = "model-quality"
    extras: ClassVar[tuple[str, ...]] = ("corpus", "train")

    corpus: Step[Documents] = Field(description="The documents.")
    model: Step[Model] = Field(description="The classifier: a step `hub` or `local-model`.")
    label: str | None = Field(None, description="The label whose probability is the score; null for one output.")
    threshold: float = Field(0.5, description="Documents that score lower are left out.")
    good_is: Literal["high", "low"] = Field("high", description="low: leave out what scores higher than the threshold.")
    keep_share: float | None = Field(
        None, gt=0, le=1, description="Keep this share of the documents, the best of them, whatever the threshold."
    )
    windows: int = Field(4, ge=1, description="Windows of a long document to read at most, spread evenly over it.")
    window_tokens: int | None = Field(None, ge=8, description="Tokens of a window; null is what the model takes.")
    of_windows: Literal["mean", "highest"] = Field("mean", description="What a document's score is of its windows.")

    def run(self, work: Work) -> None:
        """Score all documents, then write those that score enough."""
        from metier.corpus.quality.sequence import Settings, check_labels

        folder = work.made(self.model).model_folder.absolute()
        labels = (self.label,) if self.label is not None else ()
        check_labels(folder, labels)
        crew = crew_for(work.host, folder)
        settings = Settings(labels, self.windows, self.window_tokens, self.of_windows, crew.device, crew.threads)
        filter_by_score(
            work,
            work.made(self.corpus),
            ModelScorer(folder, settings),
            Cut(self.threshold, self.keep_share, self.good_is == "low"),
            crew.workers,
            crew.memory_bytes,
        )


@dataclass(frozen=True)
class ModelScorer:
    """Scores documents with a sequence classifier."""

    folder: Path
    settings: Settings

    def __call__(self, batch: pa.RecordBatch) -> list[Scored]:
        """Return the score of each document."""
        from metier.corpus.quality.sequence import score

        texts = [text or "" for text in batch.column("text").to_pylist()]
        return [Scored(told.score) for told in score(self.folder, self.settings, texts)]


class Crew(NamedTuple):
    """How many processes should each hold a model, on which device, with how many threads and how much memory."""

    workers: int | None
    device: str
    threads: int
    memory_bytes: int | None


def crew_for(host: Host, folder: Path) -> Crew:
    """Return the crew for a model: one process on a GPU, else one a thread, as far as the memory goes."""
    if host.gpus:
        import torch

        if torch.cuda.is_available():
            return Crew(1, "cuda", host.threads, _ADDRESSES_OF_CUDA)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    needed = _MEMORY_BESIDE + 3 * weights
    workers = max(1, min(host.threads, host.memory_bytes // needed))
    return Crew(workers, "cpu", max(1, host.threads // workers), None)
