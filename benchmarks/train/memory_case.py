"""One configuration of `benchmarks.train.memory`, measured in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metier.train.plan import Shape

if TYPE_CHECKING:
    from benchmarks.train.memory import Case

STEPS = 3
_BLOCK = 128 << 10  # bytes; larger ones are given back to the system when they are freed
_TINY = Shape("tiny", 1, 32, 64, 2, 1, 16, 600, tied=True)
_TOKENS = 500  # random ids below this: the vocabulary itself may be larger


def measured_apart(case: Case, threads: int) -> dict[str, int]:
    """Train `case` for three steps in a process of its own; return its peak and what was resident before.

    The process is forked from this one, which has imported everything and computed nothing: imports take ten seconds.
    """
    import peft  # noqa: F401 - here, and not in each process
    import transformers.trainer  # noqa: F401

    import metier.train.trainer
    import metier.train.tune  # noqa: F401

    found: dict[str, int] = apart(measure, case, threads)
    return found


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` returns in a forked process. Raises SystemExit if it fails."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(there, function, *arguments))
    child.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__}{arguments} failed") from None
    child.join()
    return answer


def _send(pipe: Any, function: Callable[..., Any], *arguments: Any) -> None:
    pipe.send(function(*arguments))


def measure(case: Case, threads: int) -> dict[str, int]:
    """Train `case` in this process; return the peak and what was resident before a model was there."""
    import torch
    import transformers

    import metier.train.tune

    _return_freed_memory()
    metier.train.tune.quiet()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if case.engine == "step":
            apart(_write_model, case, Path(folder) / "base")
            # A tiny step first: it imports and sets up what a step does, which is no part of what is foretold.
            tiny = case._replace(shape=_TINY, length=32, micro=1, passes=1)
            apart(_write_model, tiny, Path(folder) / "tiny" / "base")
            _train_step(tiny, Path(folder) / "tiny", threads)
        _warm(transformers, torch)
        before = _resident()
        _reset_peak()
        if case.engine == "step":
            _train_step(case, Path(folder), threads)
        else:
            _train_loop(case)
        peak = _peak()
    return {"baseline": before, "peak": peak}


def config_of(case: Case) -> Any:
    """Return the configuration of a Llama of the case's shape."""
    from transformers import LlamaConfig

    shape = case.shape
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        head_dim=shape.head,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
    )


def _return_freed_memory() -> None:
    m_mmap_threshold = -3  # mallopt(3)
    ctypes.CDLL("libc.so.6").mallopt(m_mmap_threshold, _BLOCK)


def _warm(transformers: Any, torch: Any) -> None:
    """Train something tiny, so that what the libraries set up once is no part of what is measured."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    network = transformers.LlamaForCausalLM(config)
    ids = torch.randint(0, 60, (1, 16))
    network(input_ids=ids, labels=ids).loss.backward()
    torch.optim.AdamW(network.parameters(), fused=True).step()


def _train_loop(case: Case) -> None:
    """Train with transformers' own forward and loss, and PEFT's adapters."""
    import torch

    network = _network(case)
    if case.method == "lora":
        import peft

        config = peft.LoraConfig(r=case.rank, target_modules="all-linear", task_type="CAUSAL_LM")
        network = peft.get_peft_model(network, config)
    if case.checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.enable_input_require_grads()
    network.config.use_cache = False
    network.train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    for _ in range(STEPS):
        for _ in range(case.passes):
            ids = torch.randint(0, _TOKENS, (case.micro, case.length))
            with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "mixed"):
                loss = network(input_ids=ids, labels=ids).loss
            loss.backward()
            del loss
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def _network(case: Case) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    config = config_of(case)
    config._attn_implementation = "sdpa"
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if case.precision == "bf16" else torch.float32)


def _write_model(case: Case, folder: Path) -> None:
    """Write random weights and the tiny tokenizer; in a process of its own, as its memory is not to be measured."""
    from transformers import LlamaForCausalLM

    from metier.models.tiny import tiny_tokenizer

    LlamaForCausalLM(config_of(case)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def _train_step(case: Case, folder: Path, threads: int) -> None:
    """Train with the house's own step, through a workshop."""
    from benchmarks.train.given import BaseModel, Texts
    from metier.core import Host
    from metier.core.workshop import Workshop
    from metier.train import Cpt

    tokens = case.micro * case.length
    more = {"method": case.method} if case.method != "full" else {}
    step = Cpt(
        base=BaseModel(at=str(folder / "base")),
        corpus=Texts(tokens=(STEPS + 1) * tokens, length=case.length),
        sequence_length=case.length,
        tokens=STEPS * tokens * case.passes,
        batch_tokens=tokens * case.passes,
        **more,
    )
    host = Host(cores=threads, threads=threads, memory_bytes=Host.here().memory_bytes)
    Workshop(folder / "runs", host=host).make(step)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} in /proc/self/status: this benchmark runs on Linux")


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now: proc(5)
