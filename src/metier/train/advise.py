"""Which way to adapt a model, from how much data there is, which model and which machine; each advice with its source.

Rules of thumb, not laws: most were found at other sizes than yours. Thresholds between two ways are judgement where no
study gives a number, and say so. The exam decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Shift = Literal["weak", "strong"]
Way = Literal["prompt", "RAG", "CPT", "SFT", "DPO"]


class Data(NamedTuple):
    """What there is to learn from. tokens: of the documents. rows: conversations. pairs: preferences."""

    documents: int = 0
    tokens: int = 0
    rows: int = 0
    pairs: int = 0


class Target(NamedTuple):
    """The model to be adapted. parameters, chat (whether it has a chat template): None where it is not known."""

    name: str
    parameters: int | None = None
    chat: bool | None = None


class Wishes(NamedTuple):
    """What no file tells. shift: weak if documents are in a language and style that the model knows, else strong.

    changing: the facts change faster than a model can be trained. memory_bytes: of all accelerators together, or of the
    machine where there is none.
    """

    shift: Shift = "weak"
    changing: bool = False
    memory_bytes: int | None = None


class Line(NamedTuple):
    """One advice: about what, what to do, why, and who found it."""

    about: str
    advice: str
    reason: str
    source: str


class Training(NamedTuple):
    """Settings of one training, as the recipe gives them."""

    method: Literal["full", "lora", "qlora"]
    learning_rate: float
    epochs: int
    rank: int | None = None


class Advice(NamedTuple):
    """The ways to go, in their order, every line of reasons, the settings of each training, and what is not known."""

    ways: list[Way]
    start: Literal["chat", "base"]
    lines: list[Line]
    trainings: dict[str, Training]
    replay_share: float
    chat_vector: bool
    unknown: list[str]


FEW_ROWS = 50
SFT_ROWS = 500
CHAT_ROWS, BASE_ROWS = 20_000, 100_000
CPT_TOKENS, SURE_CPT_TOKENS = 10_000_000, 100_000_000
DPO_PAIRS = 500

# Bytes a parameter: weights, gradients and Adam in float32 with bf16 copies; adapters on 16-bit and on 4-bit weights.
_BYTES = {"full": 18.0, "lora": 2.6, "qlora": 0.9}


def advise(data: Data, target: Target, wishes: Wishes) -> Advice:
    """Return what to do with this data, this model and this machine."""
    ways = _ways(data, wishes)
    start = _start(data, ways)
    replay = _replay(data, wishes)
    trainings = _trainings(data, target, wishes, ways)
    vector = "CPT" in ways and start == "base" and data.rows < BASE_ROWS
    lines = [
        *_why_ways(data, wishes, ways),
        *_why_start(data, ways, start),
        *(_why_vector() if vector else ()),
        *(_why_replay(wishes, replay, ways)),
        *_why_trainings(data, target, wishes, trainings),
    ]
    return Advice(ways, start, lines, trainings, replay, vector, list(_unknown(data, target, wishes, ways)))


def _ways(data: Data, wishes: Wishes) -> list[Way]:
    ways: list[Way] = []
    if data.documents and (data.tokens < SURE_CPT_TOKENS or wishes.changing):
        ways.append("RAG")
    if data.tokens >= CPT_TOKENS:
        ways.append("CPT")
    if data.rows >= SFT_ROWS or "CPT" in ways:
        ways.append("SFT")
    if data.pairs >= DPO_PAIRS and "SFT" in ways:
        ways.append("DPO")
    if "SFT" not in ways:
        ways.insert(0, "prompt")
    return ways


def _why_ways(data: Data, wishes: Wishes, ways: list[Way]) -> Iterator[Line]:
    for way in ways:
        yield {"prompt": _prompt, "RAG": _rag, "CPT": _cpt, "SFT": _sft, "DPO": _dpo}[way](data, wishes)
    if data.documents and "CPT" not in ways:
        yield Line(
            "no CPT yet",
            f"{data.tokens:,} tokens are too few to learn facts from by reading them",
            "1.3M tokens read directly taught an 8B model next to nothing, their rewriting into 455M did; the bound of "
            f"{CPT_TOKENS / 1e6:.0f}M is judgement",
            "Yang et al. 2024, Synthetic continued pretraining",
        )
    if 0 < data.pairs < DPO_PAIRS:
        yield Line(
            "no DPO yet",
            f"{data.pairs:,} pairs are few; collect {DPO_PAIRS:,} and more",
            "judgement: these studies used 60,000 to 170,000 pairs, and few pairs overfit within an epoch",
            "Rafailov et al. 2023; Tunstall et al. 2023, Zephyr",
        )


def _prompt(data: Data, _: Wishes) -> Line:
    rows = f"{data.rows} examples" if data.rows else "no examples"
    return Line(
        "prompt",
        f"start with a system prompt and {'the best of ' if data.rows > 8 else ''}{rows} in it; measure that first",
        f"a large model does much from a few examples; under {SFT_ROWS} rows (judgement) training mostly teaches style",
        "Brown et al. 2020, GPT-3",
    )


def _rag(_: Data, wishes: Wishes) -> Line:
    if wishes.changing:
        return Line(
            "RAG",
            "retrieve passages at every question",
            "the facts change: weights hold those of the day of training, an index is renewed in minutes",
            "Lewis et al. 2020, RAG",
        )
    return Line(
        "RAG",
        "retrieve passages, and keep that as the baseline that training has to beat",
        "retrieval beat unsupervised training on documents for facts old and new",
        "Ovadia et al. 2024, Fine-Tuning or Retrieval?",
    )


def _cpt(data: Data, _: Wishes) -> Line:
    sure = data.tokens >= SURE_CPT_TOKENS
    return Line(
        "CPT",
        f"train on the documents ({data.tokens / 1e6:,.0f}M tokens)" + ("" if sure else ", as a trial beside RAG"),
        "a second phase on text of the domain helps in every domain tried"
        + ("" if sure else f"; between {CPT_TOKENS / 1e6:.0f}M and {SURE_CPT_TOKENS / 1e6:.0f}M tokens it may not pay"),
        "Gururangan et al. 2020, Don't Stop Pretraining",
    )


def _sft(data: Data, _: Wishes) -> Line:
    if data.rows < SFT_ROWS:
        return Line(
            "SFT",
            f"make {max(SFT_ROWS, 1000):,} rows and more from the documents, or use a chat vector",
            "after CPT a model continues text; a thousand good rows teach it to answer",
            "Zhou et al. 2023, LIMA",
        )
    return Line(
        "SFT",
        f"fine-tune on the {data.rows:,} rows; better ones before more",
        "1,000 chosen rows were enough for a 65B model; variety and quality counted, amount did not",
        "Zhou et al. 2023, LIMA",
    )


def _dpo(data: Data, _: Wishes) -> Line:
    return Line(
        "DPO",
        f"then train on the {data.pairs:,} pairs, sampled from the fine-tuned model itself if you can",
        "preferences move what demonstrations leave undecided; pairs of another model teach less",
        "Ouyang et al. 2022, InstructGPT; Rafailov et al. 2023, DPO",
    )


def _start(data: Data, ways: list[Way]) -> Literal["chat", "base"]:
    if data.rows >= BASE_ROWS or ("CPT" in ways and data.tokens >= SURE_CPT_TOKENS):
        return "base"
    return "chat"


def _why_start(data: Data, ways: list[Way], start: str) -> Iterator[Line]:
    rule = "practice (about 5,000 rows: chat; about 100,000: base); no controlled study is known to us"
    if "SFT" not in ways and "CPT" not in ways:
        return
    if start == "chat":
        between = data.rows > CHAT_ROWS
        yield Line(
            "chat or base",
            "start from the chat model" + ("; try the base too, the rows lie between" if between else ""),
            f"{data.rows:,} rows are too few to teach conversation anew",
            rule,
        )
        yield Line(
            "format",
            "keep the chat model's own template and system prompt, in training and in serving",
            "another format makes the model unlearn the one that its manners hang on",
            "practice",
        )
    elif data.rows >= BASE_ROWS:
        yield Line("chat or base", "start from the base model", f"{data.rows:,} rows teach conversation", rule)
    else:
        yield Line(
            "chat or base",
            "train the base model on the documents, then bring the chat manners back",
            "long CPT washes out what makes a chat model chat",
            "Huang et al. 2023, Chat Vector",
        )


def _why_vector() -> Iterator[Line]:
    yield Line(
        "chat vector",
        "after CPT add chat - base to the weights, then fine-tune (step `chat-vector`)",
        "it gave models trained further in another language their manners back without training",
        "Huang et al. 2023, Chat Vector",
    )


def _replay(data: Data, wishes: Wishes) -> float:
    if wishes.shift == "strong":
        return 0.5
    return 0.2 if data.tokens < 1_000_000_000 else 0.05


def _why_replay(wishes: Wishes, share: float, ways: list[Way]) -> Iterator[Line]:
    if "CPT" in ways:
        yield Line(
            "replay",
            f"{share:.0%} of the tokens from general text",
            ("more, up to 50%, kept more over a strong" if wishes.shift == "strong" else "5% sufficed for a weak")
            + " shift and hundreds of billions of tokens; short runs at a high learning rate need more, and one study "
            "of a small domain found five parts general to one of domain best",
            "Ibrahim et al. 2024, Simple and Scalable Strategies; Wen et al. 2023, ChatHome; Wu et al. 2023, "
            "BloombergGPT (51% domain, from scratch)",
        )
    if "SFT" in ways:
        yield Line(
            "replay in SFT",
            "mix in the base model's own replies to general requests (step `rehearsal`)",
            "training on one thing takes from the others; pre-training text mixed into RLHF gave most of it back",
            "Ouyang et al. 2022, InstructGPT (PPO-ptx)",
        )


def _trainings(data: Data, target: Target, wishes: Wishes, ways: list[Way]) -> dict[str, Training]:
    found = {}
    if "CPT" in ways:
        method = _affordable("full", target, wishes)
        epochs = 1 if data.tokens >= SURE_CPT_TOKENS else 3
        found["cpt"] = Training(method, _rate(target, method), epochs, None if method == "full" else 256)
    if "SFT" in ways:
        method = _affordable("full" if data.rows >= BASE_ROWS else "lora", target, wishes)
        epochs = 4 if data.rows < 2000 else 3 if data.rows < CHAT_ROWS else 2 if data.rows < BASE_ROWS else 1
        found["sft"] = Training(method, _rate(target, method), epochs, None if method == "full" else 16)
    if "DPO" in ways:
        method = _affordable("lora", target, wishes)
        found["dpo"] = Training(method, 5e-6, 1, 16)
    return found


def _affordable(wish: Literal["full", "lora"], target: Target, wishes: Wishes) -> Literal["full", "lora", "qlora"]:
    ladder: list[Literal["full", "lora", "qlora"]] = ["full", "lora", "qlora"]
    ladder = ladder[ladder.index(wish) :]
    if target.parameters is None or wishes.memory_bytes is None:
        return wish
    for method in ladder:
        if _needed(target.parameters, method) <= wishes.memory_bytes:
            return method
    return "qlora"  # where that does not fit either a line says so


def _needed(parameters: int, method: str) -> float:
    return parameters * _BYTES[method] + 2e9


def _rate(target: Target, method: str) -> float:
    large = (target.parameters or 7e9) > 2e10
    if method != "full":
        return 1e-4 if large else 2e-4
    if target.parameters is not None and target.parameters < 1e9:
        return 1e-4
    return 1e-5 if large else 2e-5


def _why_trainings(data: Data, target: Target, wishes: Wishes, trainings: dict[str, Training]) -> Iterator[Line]:
    why: dict[str, Callable[[Training], tuple[str, str]]] = {
        "cpt": lambda one: (
            "new knowledge needs full rank: LoRA learnt less of code and maths from billions of tokens"
            if one.method == "full"
            else "all weights do not fit this memory; a low rank learns less in CPT, so the rank is high",
            "Biderman et al. 2024, LoRA Learns Less and Forgets Less",
        ),
        "sft": lambda one: (
            "this many rows go beyond what a small adapter holds"
            if one.method == "full"
            else "an adapter forgets less than full training (Biderman) and matches it while the rows fit its capacity "
            "(Schulman); of 100,000 rows of code and maths low ranks learnt less, rank 256 nearly as much (Biderman)",
            "Biderman et al. 2024, LoRA Learns Less; Schulman et al. 2025, LoRA Without Regret",
        ),
        "dpo": lambda _: ("a small step away from the fine-tuned model is meant", "Rafailov et al. 2023, DPO"),
    }
    for name, one in trainings.items():
        reason, source = why[name](one)
        rank = f", rank {one.rank} on all linear layers, alpha {2 * one.rank}" if one.rank else ""
        yield Line(f"method ({name})", one.method + rank, reason, source)
        yield from _why_not(name, one, target, wishes)
        yield Line(
            f"learning rate ({name})", f"{one.learning_rate:g}, warmed up over 10%", *_rate_reason(name, one, target)
        )
        yield Line(f"epochs ({name})", str(one.epochs), *_epochs_reason(name, data))


def _why_not(name: str, one: Training, target: Target, wishes: Wishes) -> Iterator[Line]:
    if target.parameters is None or wishes.memory_bytes is None:
        return
    needed = _needed(target.parameters, one.method)
    if needed > wishes.memory_bytes:
        yield Line(
            f"memory ({name})",
            f"does not fit: needs about {needed / 1e9:.3g} GB of {wishes.memory_bytes / 1e9:.3g} GB; take a smaller "
            "model or a larger machine",
            f"{one.method} is the method that needs least, {_BYTES[one.method]:g} bytes a parameter and 2 GB beside",
            "judgement; `metier plan` counts it for a recipe",
        )


def _rate_reason(name: str, one: Training, target: Target) -> tuple[str, str]:
    if name == "dpo":
        return (
            "full training used 5e-7 to 1e-6; adapters take about ten times as much",
            "Tunstall et al. 2023; Schulman 2025",
        )
    if one.method != "full":
        return "best for adapters up to 13B; half of it for 33B and 65B", "Dettmers et al. 2023, QLoRA, table 9"
    size = "of unknown size (7B taken)" if target.parameters is None else f"of {target.parameters / 1e9:.2g}B"
    return (
        f"for a model {size}: re-warmed and decayed again; 1e-5 was used at 65B, small models bear ten times that",
        "Ibrahim et al. 2024; Zhou et al. 2023, LIMA",
    )


def _epochs_reason(name: str, data: Data) -> tuple[str, str]:
    if name == "cpt":
        return "up to four passes are worth nearly as much as new text", "Muennighoff et al. 2023, Data-Constrained"
    if name == "dpo":
        return (
            "Zephyr knew its pairs by heart after one pass; more passes did no harm, but take the exam in between",
            "Tunstall et al. 2023, Zephyr",
        )
    return (
        f"for {data.rows:,} rows; held-out loss rises after the first pass while answers still get better: let the "
        "exam choose among the checkpoints",
        "Ouyang et al. 2022, InstructGPT (16 epochs); Zhou et al. 2023, LIMA (15)",
    )


def _unknown(data: Data, target: Target, wishes: Wishes, ways: list[Way]) -> Iterator[str]:
    if data.documents or data.tokens:
        yield "tokens are estimated from bytes, four to one; the step `pack` counts them"
        yield "how clean and how repetitive the documents are: `metier corpus` finds out"
        yield f"whether their language and style are near the model's own: taken as a {wishes.shift} shift (--shift)"
    if data.rows:
        yield "whether the rows are right: nobody read them; LIMA's finding holds for chosen rows only"
    if target.parameters is None:
        yield "how large the model is: 7B taken for learning rates, memory not checked (--model)"
    if target.chat is None:
        yield "whether the model has a chat template"
    elif not target.chat and _start(data, ways) == "chat":
        yield f"{target.name} has no chat template: give its chat sibling, or a template"
    if wishes.memory_bytes is None:
        yield "the machine's memory"
    if not wishes.changing and "RAG" not in ways:
        yield "whether the facts change often; then retrieval belongs to it whatever is trained (--changing)"
    yield "what quality you need: make the exam first (step `exam`), and hold every way against prompt and RAG"
