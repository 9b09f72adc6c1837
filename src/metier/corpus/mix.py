"""Mix channels of text by their shares: domain and general text, and instruction data as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from metier.core import Mistake, Step, Work
from metier.core.types import TRAIN, Conversation, Conversations, Document, Documents, Model
from metier.corpus.documents import new_document

if TYPE_CHECKING:
    from metier.corpus.channels import Channel, Measured, MeasureTask, Take
    from metier.corpus.pack.ids import Prepared

_LEFT = "left out to keep the shares"
NOT_TRAINING = "not in the train split"
_WHAT = "measuring documents"


class Mix(Step[Documents]):
    """Mix documents of several channels so that each has its share of the tokens.

    Documents are taken whole, by a hash of their id: adding some moves few others. A channel that is too small is
    repeated, one that is too large is sampled, and both are reported. Documents that are held out are never mixed.
    """

    name: ClassVar[str] = "mix"
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    channels: dict[str, Step[Documents]] = Field(min_length=1, description="documents, by the name of their channel")
    instructions: dict[str, Step[Conversations]] = Field(
        {}, description="conversations to read as text among the documents, by the name of their channel"
    )
    shares: dict[str, float] = Field(
        {"domain": 0.7, "general": 0.3},
        description="how the tokens are shared out, for each channel; 1 to 5 may be written as 1 and 5",
    )
    size: int | None = Field(
        None, ge=1, description="tokens of the whole mix; null: as many as use the first channel once"
    )
    model: Step[Model] | None = Field(
        None, description="the model whose tokens are counted; null counts characters, which is quicker"
    )
    most_repeats: float = Field(
        4.0,
        ge=1,
        description="how often a channel is repeated at most; with 4 repetitions text taught about as much as new",
    )
    instruction_format: Literal["plain", "chat"] = Field(
        "plain", description="how conversations become text: messages one after the other, or the model's chat template"
    )
    seed: int = Field(0, ge=0, description="another seed samples other documents")

    @model_validator(mode="after")
    def _names_agree(self) -> Mix:
        names = [*self.channels, *self.instructions]
        if len(set(names)) < len(names):
            raise ValueError("a channel of documents and one of instructions have the same name")
        if set(names) != set(self.shares):
            raise ValueError(f"`shares` names {', '.join(self.shares)}, and the channels are {', '.join(names)}")
        if not all(share > 0 for share in self.shares.values()):
            raise ValueError("every share must be above 0")
        if self.instruction_format == "chat" and self.model is None:
            raise ValueError("the chat format is that of a model: name it in `model`")
        return self

    def run(self, work: Work) -> None:
        """Write the mixed documents, each with its channel."""
        scratch = work.folder / ".scratch-mix"
        scratch.mkdir(exist_ok=True)
        prepared = self._prepared(work, scratch)
        channels, held = self._measured(work, scratch, prepared)
        takes = self._takes(work, channels)
        self._write(work, channels, takes)
        self._report(work, channels, takes, held)

    def _prepared(self, work: Work, scratch: Path) -> Prepared | None:
        from metier.corpus.pack.ids import ModelFolder, prepare
        from metier.corpus.tasks import done_apart

        if self.model is None:
            return None
        shards = [shard for step in self.channels.values() for shard in work.made(step).shards]
        folder = ModelFolder(work.made(self.model).model_folder.absolute(), scratch.absolute())
        return done_apart(work, shards, prepare, folder, "preparing the tokenizer")

    def _measured(
        self, work: Work, scratch: Path, prepared: Prepared | None
    ) -> tuple[dict[str, Channel], dict[str, Measured]]:
        """Return the measured channels, and what came of each channel's artifact."""
        from metier.corpus.channels import Channel, Measure, Measured
        from metier.corpus.tasks import tasks_over

        shards = {name: work.made(step).shards for name, step in self.channels.items()}
        before = dict.fromkeys(self.channels, Measured(0, {}))
        for name, step in self.instructions.items():
            folder = scratch / f"instructions-{len(shards)}"
            before[name] = self._as_documents(work, name, work.made(step), folder)
            shards[name] = Documents(folder).shards
        tasks = _tasks(shards, scratch)
        held = {}
        with (
            work.progress("measuring", sum(map(len, tasks.values())), "shards") as bar,
            tasks_over(work, [*chain(*shards.values())]) as pool,
            closing(
                pool.every(Measure(prepared and prepared.encoder, self.seed), chain(*tasks.values()), what=_WHAT)
            ) as results,
        ):
            for name, several in tasks.items():
                came, dropped = before[name].came, Counter(before[name].dropped)
                for told in islice(results, len(several)):
                    came += told.came
                    dropped.update(told.dropped)
                    bar.advance()
                held[name] = Measured(came, dict(dropped))
        channels = {name: Channel(name, several) for name, several in tasks.items()}
        for name, channel in channels.items():
            if not channel.size:
                raise Mistake(
                    f"the channel '{name}' has no text to train on",
                    found=f"{held[name].came} documents; "
                    + ", ".join(f"{n} {why}" for why, n in held[name].dropped.items()),
                    hint="look at what its steps left out",
                )
        return channels, held

    def _as_documents(self, work: Work, name: str, conversations: Conversations, folder: Path) -> Measured:
        """Write the training rows as documents, and return how many conversations are none of them."""
        from metier.corpus.channels import Measured

        template = None
        if self.instruction_format == "chat" and self.model is not None:
            from metier.core.template import Template
            from metier.corpus.pack.ids import load_tokenizer

            template = Template(load_tokenizer(work.made(self.model).model_folder))
        passed_over = 0

        def documents() -> Iterator[Document]:
            nonlocal passed_over
            for row in conversations.rows():
                if row.split != TRAIN:
                    passed_over += 1
                    continue
                text = template.render(row.messages).text if template else plain_text(row)
                yield new_document(f"{row.source or name}#{row.id}", text)._replace(split=TRAIN)

        Documents.write(folder, documents())
        return Measured(passed_over, {NOT_TRAINING: passed_over} if passed_over else {})

    def _takes(self, work: Work, channels: Mapping[str, Channel]) -> dict[str, Take]:
        """Return what to take of each channel, with a warning where a share cannot be met."""
        sizes = {name: channel.size for name, channel in channels.items()}
        plan = planned(sizes, self.shares, self.size, self.most_repeats)
        for name, wanted in plan.items():
            if wanted.capped:
                work.warn(
                    f"'{name}' would have to be repeated {wanted.asked / sizes[name]:.1f} times for its share of "
                    f"{wanted.share:.0%}; it is repeated {self.most_repeats:g} times (`most_repeats`)"
                )
        return {name: channel.take(plan[name].size) for name, channel in channels.items()}

    def _write(self, work: Work, channels: Mapping[str, Channel], takes: Mapping[str, Take]) -> None:
        from metier.corpus.channels import interleaved

        streams = {
            name: (channel.stream(takes[name]), channel.taken(takes[name]).repeated)
            for name, channel in channels.items()
        }
        with work.progress("mixing", None, "documents") as bar:

            def seen() -> Iterator[Document]:
                for document in interleaved(streams):
                    yield document
                    bar.advance()

            Documents.write(work.folder, seen())

    def _report(
        self, work: Work, channels: Mapping[str, Channel], takes: Mapping[str, Take], held: Mapping[str, Measured]
    ) -> None:
        """Write the ledger, a line for each channel, and the figures."""
        unit = "character" if self.model is None else "token"
        taken = {name: channel.taken(takes[name]) for name, channel in channels.items()}
        for kind, field, names in (
            ("document", "channels", self.channels),
            ("conversation", "instructions", self.instructions),
        ):
            dropped = Counter[str]()
            for name in names:
                dropped.update(held[name].dropped)
                dropped[_LEFT] += channels[name].documents - taken[name].documents
            came, kept, made = (
                sum(held[name].came for name in names),
                sum(taken[name].documents for name in names),
                sum(taken[name].copies for name in names),
            )
            if names:
                work.count(kind, came, kept, +dropped, source=field, made={"document": made})
        whole = sum(one.repeated for one in taken.values())
        for name, channel in channels.items():
            one = taken[name]
            left = {_LEFT: channel.size - one.once} if one.once < channel.size else {}
            work.count(f"{name} {unit}", channel.size, one.once, left, made={f"{name} {unit}": one.repeated})
        shares = sum(self.shares.values())
        told: dict[str, dict[str, Any]] = {
            name: {
                "wanted_share": round(self.shares[name] / shares, 4),
                "share": round(taken[name].repeated / whole, 4),
                "before": channel.size,
                "after": taken[name].repeated,
                "times": round(taken[name].repeated / channel.size, 4),
                "documents": taken[name].copies,
            }
            for name, channel in channels.items()
        }
        work.figure("unit", unit)
        work.figure("channels", told)


class Wanted(NamedTuple):
    """How much of a channel the mix has: `asked` for its share, and no more than may be repeated."""

    share: float
    asked: float
    size: float

    @property
    def capped(self) -> bool:
        """Whether less is taken than asked for."""
        return self.size < self.asked


def planned(
    sizes: Mapping[str, int], shares: Mapping[str, float], size: int | None, most_repeats: float
) -> dict[str, Wanted]:
    """Return how much of each channel to take.

    A channel is repeated at most `most_repeats` times. With up to 4 repetitions text was found to teach about as much
    as new text, and with more ever less: Muennighoff et al. 2023, "Scaling Data-Constrained Language Models"
    (arXiv 2305.16264).

    Args:
        sizes: of the channels, the first of which is used once where `size` is None.
        shares: in any unit.
        size: of the whole mix.
    """
    parts = {name: shares[name] / sum(shares.values()) for name in sizes}
    first = next(iter(sizes))
    whole = sizes[first] / parts[first] if size is None else size
    return {
        name: Wanted(part, part * whole, min(part * whole, most_repeats * sizes[name])) for name, part in parts.items()
    }


def plain_text(conversation: Conversation) -> str:
    """Return the messages of a conversation one after the other, as a document would put a question and its answer."""
    return "\n\n".join(message.content.strip() for message in conversation.messages if message.content.strip())


def _tasks(shards: Mapping[str, list[Path]], scratch: Path) -> dict[str, list[MeasureTask]]:
    from metier.corpus.channels import MeasureTask

    return {
        name: [
            MeasureTask(path.absolute(), scratch.absolute() / f"{at}-{number:05d}")
            for number, path in enumerate(several)
        ]
        for at, (name, several) in enumerate(shards.items())
    }
