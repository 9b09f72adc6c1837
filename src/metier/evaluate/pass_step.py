"""The step that lets a model write programs and counts those that pass their tests."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.chat import Decoding, Message, Reply
from metier.core.files import sha256_file, write_json_atomic
from metier.core.scorers import answer_of
from metier.core.types import Model, Score, Scores
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.passing import figure
from metier.evaluate.problems import Problem, read_problems

if TYPE_CHECKING:
    from metier.core.scorers.program import ProgramScorer

_SPLIT = "problems"
_SAMPLES = "samples"


class PassAtK(Step[Scores]):
    """Let a model write programs, run them with their tests in a sandbox, and estimate pass@k.

    For HumanEval, files like MBPP's, and a team's own tests in any language that a command can run. Every sample is
    written down as it is graded, so a killed run goes on with the next problem.
    """

    name: ClassVar[str] = "pass-at-k"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    model: Step[Model] = Field(description="The model.")
    problems: LocalPath = Field(description="Problems, one JSON object a line; see how-to/run-pass-at-k-safely.")
    limit: int | None = Field(None, ge=1, description="Only so many problems, the first of the file.")
    samples: int = Field(5, ge=1, le=1000, description="Answers to each problem.")
    ks: tuple[int, ...] = Field((1, 5), description="The k for which pass@k is estimated; none above `samples`.")
    temperature: float = Field(0.2, ge=0, description="Of the answers; 0 makes all answers of a problem alike.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus share.")
    max_tokens: int = Field(384, ge=1, description="Most tokens of one answer.")
    seed: int = Field(0, description="Seed of the answers.")
    seconds: float = Field(10.0, gt=0, description="Time one program may take.")
    memory_megabytes: int = Field(512, ge=32, description="Memory one program may take.")
    readable: tuple[str, ...] = Field((), description="Further folders of the machine that programs may read.")
    weak_sandbox: bool = Field(
        False, description="Run programs where the machine has no namespaces, with limits alone."
    )
    label: str | None = Field(None, description="What the model is called in tables; its step's name if not given.")

    @model_validator(mode="after")
    def _ks_fit(self) -> PassAtK:
        if not self.ks or not all(1 <= k <= self.samples for k in self.ks):
            raise ValueError(f"every k lies in 1..{self.samples}, the number of samples")
        return self

    def run(self, work: Work) -> None:
        """Write scores.json, answers.jsonl with one line a sample, and exam.json, by which `metier gate` compares."""
        from metier.core.engine import EngineChat
        from metier.core.sandbox import Limits
        from metier.core.scorers.program import ProgramScorer

        problems = read_problems(self.problems.path)[: self.limit]
        limits = Limits(seconds=self.seconds, memory_bytes=self.memory_megabytes << 20)
        scorer = ProgramScorer(limits, [Path(path) for path in self.readable], self.weak_sandbox)
        _require_commands(problems, scorer)
        log = AnswerLog(work.folder / "answers.jsonl")
        todo = [problem for problem in problems if _place(problem, self.samples - 1) not in log]
        chat = EngineChat(work.made(self.model).model_folder, work.host)
        decoding = Decoding(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
            samples=self.samples,
        )
        with (
            work.progress("writing programs", len(problems), "problems") as bar,
            ThreadPoolExecutor(max(1, work.host.cores)) as runners,
        ):
            bar.resume_at(len(problems) - len(todo))

            def answered(at: int, replies: list[Reply]) -> None:
                problem = todo[at]
                scores = runners.map(lambda reply: scorer.score(problem.check, answer_of(reply.text)), replies)
                log.add_all(_row(problem, n, r, s) for n, (r, s) in enumerate(zip(replies, scores, strict=True)))
                bar.advance()

            chat.complete([[Message("user", problem.question)] for problem in todo], decoding, answered)
        rows = log.finish(_place(problem, n) for problem in problems for n in range(self.samples))
        figures = self._figures(problems, rows)
        write_json_atomic(work.folder / "scores.json", [found._asdict() for found in figures])
        work.count("sample", len(rows), len(rows), made={"graded sample": len(rows)})
        digest = sha256_file(self.problems.path)
        counts = {"problems": len(problems), "samples": self.samples}
        conditions = {"decoding": decoding.model_dump(), "limits": limits._asdict()}
        write_json_atomic(work.folder / "exam.json", {"digest": digest, "conditions": conditions, "counts": counts})
        work.figure("problems_sha256", digest)
        work.figure("decoding", decoding.model_dump())
        work.figure("sandbox", scorer.kind)
        for found in figures:
            work.figure(found.name, round(found.value, 4))

    def _figures(self, problems: Sequence[Problem], rows: Sequence[dict[str, Any]]) -> list[Score]:
        passed = dict.fromkeys((problem.id for problem in problems), 0)
        for row in rows:
            passed[row["problem"]] += row["score"] == 1.0
        clusters = [problem.cluster for problem in problems]
        figures = []
        for k in self.ks:
            value, low, high, n = figure(list(passed.values()), self.samples, k, clusters, self.seed)
            figures.append(Score(f"pass@{k}", self.label or self.model.name, _SPLIT, value, low, high, n))
        return figures


def _require_commands(problems: Sequence[Problem], scorer: ProgramScorer) -> None:
    """Raise Mistake if a program would be run by something that the sandbox does not have: no answer could pass."""
    wanted = {problem.check["command"][0]: problem.id for problem in problems if "command" in problem.check}
    if absent := scorer.absent(wanted):
        raise Mistake(
            f"the sandbox has no {' and no '.join(absent)}, which programs are to be run with",
            found=f"the command of problem '{wanted[absent[0]]}'",
            hint="install it below /usr, or give its full path and name its folder in `readable`",
        )


def _place(problem: Problem, sample: int) -> Place:
    return Place(_SAMPLES, _SPLIT, f"{problem.id}#{sample}")


def _row(problem: Problem, sample: int, reply: Reply, score: Any) -> dict[str, Any]:
    return {
        **_place(problem, sample)._asdict(),
        "problem": problem.id,
        "cluster": problem.cluster,
        "question": problem.question,
        "answer": reply.text,
        "score": score.value,
        "reason": score.reason,
        "tokens": reply.tokens,
        "finished": reply.finished,
    }
