"""The step that sits a model in general benchmarks, through EleutherAI's lm-eval."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from metier.core import Failure, LocalPath, Mistake, Step, Work
from metier.core.errors import Problem
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import Model, Score, Scores

if TYPE_CHECKING:
    from metier.evaluate.harness.engine_lm import EngineLM
    from metier.evaluate.harness.samples import Ran
    from metier.evaluate.harness.tasks import Catalogue, Leaf

HARNESS = 1
"""Raised when the same tasks would give another figure here."""

# lm-eval's own, so that figures are those that its command line gives.
_SEED, _NUMPY_SEED, _TORCH_SEED, _SHOTS_SEED = 0, 1234, 1234, 1234
_DONE = ".scratch-tasks"  # finished tasks of an attempt; what begins so does not outlive the step


class LmEval(Step[Scores]):
    """Measure a model on general benchmarks: MMLU, CMMLU, C-Eval, GSM8K, HellaSwag and all others that lm-eval knows.

    Questions, shots and grading are lm-eval's; the model runs in Metier's engine. A benchmark's data come from the
    folder where they are there, else from the model hub. Each finished benchmark is kept, so a run that is killed, or
    stopped by one benchmark's missing data, goes on with the others.
    """

    name: ClassVar[str] = "lm-eval"
    extras: ClassVar[tuple[str, ...]] = ("evaluate", "benchmarks")

    model: Step[Model] = Field(description="The model.")
    tasks: tuple[str, ...] = Field(min_length=1, description="Benchmarks, groups or tags, by lm-eval's ids.")
    folder: LocalPath | None = Field(
        None,
        description="Tasks of one's own as lm-eval's YAML with their files beside it, and copies of hub data sets "
        "(`FOLDER/cais/mmlu`) for tasks that lm-eval carries.",
    )
    shots: int | None = Field(
        None, ge=0, description="Examples before each question; each benchmark's own, if not given."
    )
    limit: int | None = Field(None, ge=1, description="Only so many questions of each benchmark, the first ones.")
    chat_template: bool = Field(False, description="Ask in the model's chat template, as lm-eval does if told so.")
    versions: dict[str, str] = Field(
        {}, description="The version that a benchmark must have, by id; another one is refused before anything runs."
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of the examination.")
    label: str | None = Field(None, description="What the model is called in tables; its step's name if not given.")

    def run(self, work: Work) -> None:
        """Write scores.json, answers.jsonl and exam.json."""
        from metier.core.engine import EngineChat
        from metier.evaluate.harness.engine_lm import EngineLM
        from metier.evaluate.harness.tasks import Catalogue

        catalogue = Catalogue(self.folder.path if self.folder is not None else None)
        leaves = catalogue.leaves(self.tasks)
        catalogue.check_versions(leaves, self.versions)
        left = [leaf for leaf in leaves if _finished(work.folder, leaf) is None]
        problems: list[tuple[Leaf, Problem]] = []
        if left:
            model = EngineLM(EngineChat(work.made(self.model).model_folder, work.host, self.precision))
            for at, leaf in enumerate(left, 1):
                what = leaf.name if len(left) == 1 else f"{leaf.name} ({at} of {len(left)})"
                with work.progress(what, None, "requests") as bar:
                    model.seen = bar.advance
                    try:
                        self._run_one(work, catalogue, leaf, model)
                    except Problem as problem:
                        problems.append((leaf, problem))
            if model.cut:
                work.warn(f"{model.cut} prompts were longer than the model can read and lost their beginning")
        if problems:
            raise _unfinished(problems, len(leaves))
        self._write(work, leaves)

    def _run_one(self, work: Work, catalogue: Catalogue, leaf: Leaf, model: EngineLM) -> None:
        from metier.evaluate.harness.samples import folded
        from metier.evaluate.harness.tasks import quiet

        task = catalogue.build(leaf)
        with quiet():
            results = self._evaluated(leaf, task, model)
        card = self._card(leaf, task, results)
        if self.shots is not None and card["shots"] != self.shots:
            work.warn(f"'{leaf.name}' is asked with {card['shots']} shots, as its YAML says, and not with {self.shots}")
        ran = folded(leaf, task, results, card, lambda text: len(model.tok_encode(text)))
        write_json_atomic(_path(work.folder, leaf), ran._asdict() | {"whole": [one._asdict() for one in ran.whole]})

    def _evaluated(self, leaf: Leaf, task: Any, model: EngineLM) -> Mapping[str, Any]:
        import numpy
        import torch
        from lm_eval.evaluator import evaluate

        from metier.evaluate.harness.tasks import told

        random.seed(_SEED)
        numpy.random.seed(_NUMPY_SEED)
        torch.manual_seed(_TORCH_SEED)
        # As `simple_evaluate` does: a benchmark that says "no shots" keeps to it.
        own = task.get_config("num_fewshot")
        if own is None or (self.shots is not None and own != 0):
            task.set_config(key="num_fewshot", value=self.shots or 0)
        task.set_fewshot_seed(seed=_SHOTS_SEED)
        try:
            found: Mapping[str, Any] = evaluate(
                model,
                {"tasks": {leaf.name: task}},
                limit=self.limit,
                bootstrap_iters=0,  # by a pool of processes; the intervals are this room's own
                apply_chat_template=self.chat_template,
                fewshot_as_multiturn=self.chat_template,
            )
        except (Problem, OSError, MemoryError):
            raise
        except torch.OutOfMemoryError as error:
            better = "" if self.precision == "bfloat16" else "`precision: bfloat16`, "
            raise Failure(
                f"the benchmark '{leaf.name}' ran out of memory",
                found=told(error),
                hint=f"try {better}fewer `shots`, a smaller model, or end what else is on the device; then run again",
            ) from error
        except Exception as error:
            raise Mistake(
                f"the benchmark '{leaf.name}' cannot make its questions from its data, or grade the answers",
                found=f"{told(error)}; a row has {', '.join(_columns(task))}",
                hint="its data may be of another version than its YAML: look at doc_to_text, doc_to_choice and "
                "doc_to_target",
            ) from error
        return found

    def _card(self, leaf: Leaf, task: Any, results: Mapping[str, Any]) -> dict[str, Any]:
        import lm_eval

        samples = results["samples"][leaf.name]
        prompts = [[sample["doc_hash"], sample["prompt_hash"], sample["target_hash"]] for sample in samples]
        return {
            "asked": leaf.asked,
            "task": leaf.name,
            "version": str(task.VERSION),
            "shots": int(task.get_config("num_fewshot") or 0),
            "questions": len({sample["doc_id"] for sample in samples}),
            "of": results["n-samples"][leaf.name]["original"],
            "lm_eval": lm_eval.__version__,
            "data": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
        }

    def _write(self, work: Work, leaves: list[Leaf]) -> None:
        from metier.evaluate.harness.samples import figures

        label = self.label or self.model.name
        ran = [found for leaf in leaves if (found := _finished(work.folder, leaf)) is not None]
        rows = [row for one in ran for row in one.rows]
        scores = figures(rows, label) + [score._replace(model=label) for one in ran for score in one.whole]
        conditions = {
            "harness": HARNESS,
            "precision": self.precision,
            "shots": self.shots,
            "limit": self.limit,
            "chat_template": self.chat_template,
        }
        tasks = {one.card["task"]: one.card for one in ran}
        digest = hashlib.sha256(json.dumps([conditions, tasks], sort_keys=True).encode()).hexdigest()
        counts = {name: card["questions"] for name, card in tasks.items()}
        write_text_atomic(
            work.folder / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        )
        write_json_atomic(
            work.folder / "exam.json", {"digest": digest, "conditions": conditions, "counts": counts, "tasks": tasks}
        )
        write_json_atomic(work.folder / "scores.json", [score._asdict() for score in scores])
        work.count("graded answer", len(rows), len(rows), made={"graded item": len(rows)})
        work.figure("exam", digest)
        work.figure("conditions", conditions)
        work.figure("tasks", {one.card["task"]: {**one.card, "figures": one.told} for one in ran})
        for score in scores:
            work.figure(f"{score.name}/{score.split}", round(score.value, 4))


def _path(folder: Path, leaf: Leaf) -> Path:
    return folder / _DONE / (re.sub(r"[^\w.-]+", "_", leaf.name) + ".json")


def _finished(folder: Path, leaf: Leaf) -> Ran | None:
    """Return what an earlier attempt found, if it finished the task with the lm-eval of now."""
    import lm_eval

    from metier.evaluate.harness.samples import Ran

    path = _path(folder, leaf)
    if not path.is_file():
        return None
    read = json.loads(path.read_text())
    card = read["card"]
    if (card["lm_eval"], card["asked"]) != (lm_eval.__version__, leaf.asked):
        return None
    return Ran(card, read["rows"], [Score(**score) for score in read["whole"]], read["told"])


def _unfinished(problems: list[tuple[Leaf, Problem]], of: int) -> Problem:
    first = problems[0][1]
    if of == 1:
        return first
    kind = Mistake if all(isinstance(problem, Mistake) for _, problem in problems) else Failure
    names = ", ".join(leaf.name for leaf, _ in problems[:8]) + (", ..." if len(problems) > 8 else "")
    return kind(
        f"{len(problems)} of {of} benchmarks did not run: {names}",
        found=f"{first.what}; {first.found}",
        hint=f"{first.hint}. What ran is kept: the same command goes on with the others",
    )


def _columns(task: Any) -> list[str]:
    try:
        row = next(iter(task.eval_docs))
    except Exception:
        return ["nothing that can be read"]
    return [str(name) for name in row] if isinstance(row, Mapping) else [type(row).__name__]
