"""One GRPO training: TRL's trainer, core's scorers as rewards, every answer on record, resumable."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import trl

from metier.core import Failure, Mistake, Work
from metier.core.chat import Message
from metier.core.files import write_json_atomic
from metier.core.processes import Processes
from metier.core.progress import Bar
from metier.core.scorers import answer_of, scorer_for
from metier.core.template import Template
from metier.core.types import Conversation
from metier.train.adapt import plain_network_for, precision_on
from metier.train.adapter import keep_adapter, merged
from metier.train.arguments import arguments, check_settings, is_first_process, may_leave_out
from metier.train.attempt import BEGUN, counted_steps, events_of, its_end_told
from metier.train.checkpoint import Checkpoints, step_of
from metier.train.distributed import from_first, layout, of_all
from metier.train.identity import identity_of
from metier.train.network import head_terms, load_tokenizer
from metier.train.prompts import asked, check_lengths, digest_of, fingerprint, first_prompts, order
from metier.train.rehearse import peak_memory_bytes
from metier.train.rollout import Drawing, plain, scored
from metier.train.tune import quiet, save
from metier.train.watch.guard import figures as watched_figures
from metier.train.watched import Watched
from metier.train.weights.closeness import rows_of

if TYPE_CHECKING:
    from metier.train.grpo import Grpo

TRACES = "traces.jsonl"
_DONE = ".trained.json"
_CHECKPOINTS = "checkpoints"
_FLAT_STEPS = 10  # steps without one group whose grades differ, after which it is said that nothing is learnt
_ROWS_COMPARED = 8
_TAIL = 8  # tokens of a prompt in whose text an opened thought would stand
_FIGURES = {
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "groups_alike",
    "completions/mean_length": "answer_tokens",
    "completions/clipped_ratio": "answers_cut",
    "entropy": "entropy",
    "kl": "kl",
}


class RewardTrainer(Watched, trl.GRPOTrainer):
    """TRL's GRPO trainer whose rewards are scorers.

    In one process answers are drawn by the house's engine and scored in packed windows. Where weights are shared out
    over several processes, or the architecture is one that these do not know, TRL's own ways are taken.
    """

    supervised = False

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        prompts: Sequence[Conversation],
        options: Grpo,
        folder: Path,
        work: Work,
        bar: Bar,
    ) -> None:
        import datasets

        self.prompts, self.bar = prompts, bar
        self.rewards: list[tuple[Callable[..., list[float]], float]] = [(self.grades, 1.0)]
        if options.format is not None:
            self.rewards.append(
                (partial(matches, pattern=re.compile(options.format, re.DOTALL)), options.format_weight)
            )
        settings = options.settings()
        config = partial(
            trl.GRPOConfig,
            max_steps=options.steps,
            num_generations=options.generations,
            max_completion_length=options.max_tokens,
            temperature=options.temperature,
            loss_type=options.loss,
            beta=options.beta,
            epsilon=options.epsilon,
            shuffle_dataset=False,  # see `order`
            reward_weights=[weight for _, weight in self.rewards],
        )
        accumulate = options.prompts_per_step * options.generations // options.answers_per_pass
        rows = [
            {"prompt": [message._asdict() for message in asked(prompts[at])], "row": at}
            for at in order(len(prompts), options.steps * options.prompts_per_step, settings.seed)
        ]
        ends = network.config.pad_token_id, network.generation_config.pad_token_id
        super().__init__(
            model=network,
            reward_funcs=[named(function, at) for at, (function, _) in enumerate(self.rewards)],
            args=arguments(
                config,
                folder,
                options.steps,
                accumulate,
                settings,
                work.host,
                batch=options.answers_per_pass,
                left_out=may_leave_out(network),
            ),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        if hasattr(network, "peft_config") and "ref" in network.peft_config:
            network.delete_adapter("ref")  # the reference is the base without an adapter
        network.config.pad_token_id, network.generation_config.pad_token_id = ends
        precision = precision_on(work.host, settings.precision)
        told = identity_of({"prompts and checks": digest_of(prompts)}, settings, work, precision=precision)
        self.watch(settings, work, Checkpoints(folder, told, work.warn))
        self._scorers: dict[str, Any] = {}
        self._opens = opened_thought(tokenizer, asked(prompts[0]))
        self._flat = 0
        self._drawing: Drawing | None = None
        self._draws = self.args.world_size == 1
        self._packs = self.args.world_size == 1 and not head_terms(plain(network))
        if not self._draws:
            work.warn(
                f"on {self.args.world_size} processes answers are drawn by transformers and scored row by row: more "
                "slowly, each, than on one process, where the house's own ways are taken"
            )

    def grades(self, completions: Sequence[Any], row: Sequence[int], **_: Any) -> list[float]:
        """Return the grade of each answer by the scorer that its row names, and keep answers and reasons.

        Raises:
            Mistake: a row's check cannot be used: a grade is never made up.
        """
        found, lines = [], []
        for completion, at in zip(completions, row, strict=True):
            conversation, answer = self.prompts[at], completion[0]["content"]
            check = conversation.check or {}
            name = str(check.get("scorer"))
            scorer = self._scorers.setdefault(name, scorer_for(name))
            score = scorer.score(check, answer_of(self._opens + answer))
            found.append(score.value)
            line = {"step": self.state.global_step, "row": conversation.id, "reward": score.value}
            lines.append(json.dumps({**line, "reason": score.reason, "answer": answer}, ensure_ascii=False))
        told = [line for lines in of_all(lines) for line in lines]
        if self.is_world_process_zero():
            with (self.work.folder / TRACES).open("a", encoding="utf-8") as out:
                out.write("".join(line + "\n" for line in told))
        return found

    def _generate_single_turn(self, prompt_ids: list[list[int]], *others: Any, **more: Any) -> Any:
        if self._draws and self._drawing is None:
            self._begin_drawing()
        if self._drawing is None:
            return super()._generate_single_turn(prompt_ids, *others, **more)
        # Of the step alone: a resumed training draws what an uninterrupted one does.
        seed = int.from_bytes(hashlib.sha256(f"{self.settings.seed}/{self.state.global_step}".encode()).digest()[:7])
        with self.accelerator.autocast():
            answers = self._drawing.answers(prompt_ids, self.temperature, self.max_completion_length, seed)
        return answers, None

    def _begin_drawing(self) -> None:
        host = self.work.host
        memory_bytes = host.gpus[0].memory_bytes if self.accelerator.device.type == "cuda" else host.memory_bytes
        try:
            with self.accelerator.autocast():
                self._drawing = Drawing(self.model, frozenset(self.eos_token_ids), memory_bytes)
        except Failure as error:
            self._draws = False
            self.work.say(f"answers are drawn by transformers, more slowly: {error.what}")

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **others: Any,
    ) -> Any:
        if self._packs and not compute_aux_loss and all(value is None for value in others.values()):
            try:
                with self.accelerator.autocast():
                    found = scored(
                        model, input_ids, attention_mask, logits_to_keep, self.temperature, entropy=compute_entropy
                    )
                return found.log_p, found.entropy, None
            except Mistake as error:
                self._packs = False
                self.work.say(f"answers are scored row by row, more slowly: {error.what}")
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss, **others
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        # An answer as good as the mean of its group has no gradient, and "dapo" divides by the tokens of the whole
        # step: it need not be read. Its tokens are then missing in the entropy that is logged.
        if self.loss_type == "dapo" and self.beta == 0.0:
            inputs = with_gradient(inputs)
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss

    def passed(self, step: int, loss: float, figures: Mapping[str, float]) -> dict[str, float]:
        """Move the bar on by a step; say once if the grades teach nothing."""
        self.bar.advance(1, loss=loss, **{name: figures[name] for name in ("reward",) if name in figures})
        self._flat = self._flat + 1 if figures.get("groups_alike") == 1.0 else 0
        if self._flat == _FLAT_STEPS:
            self.work.warn(
                f"in the last {_FLAT_STEPS} steps all answers to a prompt had the same grade, which teaches nothing: "
                "take easier prompts, more generations, or a scorer with grades between 0 and 1"
            )
        return {}

    def step_figures(self) -> dict[str, float]:
        """Return the means of what TRL measured in the last step, by our names."""
        seen = self._metrics["train"]
        figures = {ours: sum(seen[theirs]) / len(seen[theirs]) for theirs, ours in _FIGURES.items() if seen.get(theirs)}
        seen.clear()
        return figures


def reinforce(base: Path, tokenizer: Any, prompts: Sequence[Conversation], options: Grpo, work: Work) -> None:
    """Train `base` on `prompts` and save the result to `work.folder / "model"`, an adapter to "adapter" beside it.

    Raises:
        Mistake: the model cannot be trained here, or a row cannot be graded.
        Failure: the training diverged, or the saved model is not the trained one.
    """
    with its_end_told(work):
        _reinforce(base, tokenizer, prompts, options, work)


def _reinforce(base: Path, tokenizer: Any, prompts: Sequence[Conversation], options: Grpo, work: Work) -> None:
    done, settings = work.shared / _DONE, options.settings()
    told = json.loads(done.read_text()) if done.is_file() else {}
    if told.get("fingerprint") != fingerprint(prompts, options):
        quiet()
        check_settings(settings, work.host)
        torch.set_num_threads(work.host.threads)
        torch.manual_seed(settings.seed)
        if layout() != "whole":
            raise Mistake(
                "grpo runs on several processes that each hold the whole model",
                found=layout(),
                hint="start it with torchrun alone, without accelerate's configuration; method: lora needs less memory",
            )
        network = plain_network_for(base, settings, work.host)
        check_lengths(tokenizer, prompts, options.max_tokens, network.config.get_text_config())
        figures = _train(network, tokenizer, prompts, options, work)
        if not is_first_process():
            return
        if settings.adapter:
            keep_adapter(network, base, work.folder / "adapter")
            rows = rows_of(tokenizer, [row for row in prompts if row.messages[-1].role == "assistant"][:_ROWS_COMPARED])
            network = merged(network, base, work.folder / "adapter", settings, rows, work)
            figures["merge"] = work.figures["merge"]
        network.__dict__.pop("forward", None)  # TRL's
        save(network, load_tokenizer(base), work.folder / "model")  # as it was: TRL writes into the one it is given
        told = {"fingerprint": fingerprint(prompts, options), "figures": figures}
        write_json_atomic(done, told)
    if not is_first_process():
        return
    shutil.rmtree(work.folder / _CHECKPOINTS, ignore_errors=True)
    for name, value in told["figures"].items():
        work.figure(name, value)


def _train(network: Any, tokenizer: Any, prompts: Sequence[Conversation], options: Grpo, work: Work) -> dict[str, Any]:
    with work.progress("reinforce", total=options.steps, unit="steps") as bar:
        trainer = RewardTrainer(network, tokenizer, prompts, options, work.shared / _CHECKPOINTS, work, bar)
        drawn = options.steps * options.prompts_per_step * options.generations * options.max_tokens
        trainer.look_with(tokenizer, [], drawn, first_prompts(tokenizer, prompts))
        resume = from_first(trainer.checkpoints.newest)
        before = step_of(resume) if resume else 0
        if resume is None:
            work.event(BEGUN)
        else:
            work.event("resume", step=before, of=options.steps)
            work.say(f"going on from step {before} of {options.steps}")
        forget_traces(work.folder / TRACES, before)
        work.event("training", of=options.steps)
        bar.resume_at(before)
        start = time.monotonic()
        trainer.run(resume)
        seconds = time.monotonic() - start
    logged = counted_steps(work.folder)
    return {
        "processes": {"total": Processes.here().total, "layout": layout()},
        "steps": options.steps,
        "answers": options.steps * options.prompts_per_step * options.generations,
        **{
            name: ends_of([event[name] for event in logged if event.get(name) is not None])
            for name in ("reward", "groups_alike")
        },
        "seconds_per_step": round(seconds / max(1, options.steps - before), 3),
        "peak_memory_bytes": peak_memory_bytes(work.host),
        "watch": watched_figures(work, trainer.guard),
        "checkpoints_resumed_from": [event["step"] for event in events_of(work.folder, "resume")],
    }


def ends_of(values: Sequence[float]) -> dict[str, float]:
    """Return the means of the first and of the last tenth of a training's steps."""
    tenth = max(1, len(values) // 10)
    return {"first": round(sum(values[:tenth]) / tenth, 4), "last": round(sum(values[-tenth:]) / tenth, 4)}


def with_gradient(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pass of B answers without those whose advantage is 0; one answer is left if all are so."""
    kept_B = inputs["advantages"] != 0
    if not bool(kept_B.any()):
        kept_B[0] = True
    rows = len(kept_B)
    return {
        name: value[kept_B] if torch.is_tensor(value) and value.dim() and len(value) == rows else value
        for name, value in inputs.items()
    }


def opened_thought(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return "<think>" where the template has an answer begin within a thought, else ""."""
    prompt = Template(tokenizer).render(messages, generate=True).ids
    return "<think>" if str(tokenizer.decode(prompt[-_TAIL:])).rstrip().endswith("<think>") else ""


def matches(completions: Sequence[Any], pattern: re.Pattern[str], **_: Any) -> list[float]:
    """Return 1 for each answer that matches the pattern as a whole, else 0."""
    return [float(pattern.fullmatch(completion[0]["content"].strip()) is not None) for completion in completions]


def named(function: Callable[..., list[float]], at: int) -> Callable[..., list[float]]:
    """Return a reward function with a name, which TRL asks of one."""

    def reward(**given: Any) -> list[float]:
        return function(**given)

    reward.__name__ = ("grade", "format")[at]
    return reward


def forget_traces(path: Path, step: int) -> None:
    """Leave out of a file of traces what steps from `step` on drew: they are done again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # a completion may hold U+2028
        try:
            told = json.loads(line)
        except json.JSONDecodeError:  # cut short by a kill
            break
        if told["step"] < step:
            kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")
