"""Before a training: which rows do not fit and what they lose, that every answer ends, what is trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

from metier.core import Failure, Mistake, Work
from metier.core.files import write_json_atomic
from metier.train.packing import NOT_TRAINED, Row, Window

TooLong = Literal["raise", "drop", "truncate", "split"]
_WORST = 10
_WINDOWS_CHECKED = 64
_ROWS_SHOWN = 4


class Lost(NamedTuple):
    """What a row that is too long loses: its tokens, and how many trained tokens and ends of answers go with them."""

    name: str
    tokens: int
    lost_tokens: int
    lost_trained: int
    lost_ends: int


class Fit(NamedTuple):
    """Rows that fit, what the others lost, and how many rows were left out whole."""

    rows: list[Row]
    lost: list[Lost]
    dropped: int


def runs(mask: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where each stretch of trained tokens begins and ends: the answers of a row, in their order."""
    found, at = [], 0
    for trained, stretch in groupby(mask):
        length = len(list(stretch))
        if trained:
            found.append((at, at + length))
        at += length
    return found


def fit(rows: Sequence[Row], length: int, too_long: TooLong, ways: str = "split, drop or truncate") -> Fit:
    """Return rows of at most `length` tokens.

    Args:
        too_long: what happens to the others. drop: left out. truncate: cut at the end, and left out where no trained
            token remains. split: one row per answer (see `split_turns`), where that is short enough. raise: a Mistake.
        ways: what the step's `too_long` can be instead, as its message says it.

    Raises:
        Mistake: a row is too long and `too_long` is "raise", or "split" and one answer with its prompt is; or no row
            remains.
    """
    kept: list[Row] = []
    stuck: list[Row] = []
    lost: list[Lost] = []
    dropped = 0
    for row in rows:
        if len(row.ids) <= length:
            kept.append(row)
            continue
        pieces: list[Row] = []
        if too_long == "truncate":
            cut = Row(row.name, row.ids[:length], row.mask[:length])
            pieces = [cut] if cut.trained else []
        elif too_long == "split":
            pieces = [piece for piece in split_turns(row) if len(piece.ids) <= length]
            if len(pieces) < len(runs(row.mask)):
                stuck.append(row)
                continue
        lost.append(_lost(row, pieces, too_long))
        dropped += not pieces
        kept += pieces
    if stuck:
        why = "one answer with what stands before it is too long already"
        raise _refused(stuck, rows, length, "drop or truncate", why)
    if lost and (too_long == "raise" or not kept):
        worst = [row for row in rows if len(row.ids) > length]
        raise _refused(worst, rows, length, ways, "their answers would be cut")
    return Fit(kept, sorted(lost, key=lambda one: (-one.lost_trained, -one.lost_tokens, one.name)), dropped)


def split_turns(row: Row) -> list[Row]:
    """Return one row for each answer of `row`: all that stands before it, and of the answers that one alone trained."""
    pieces = []
    for start, end in runs(row.mask):
        mask = [start <= at < end for at in range(end)]
        pieces.append(Row(row.name, row.ids[:end], mask))
    return pieces


def tell(found: Fit, rows: Sequence[Row], length: int, work: Work) -> None:
    """Write the table of what is lost to rows.json, and its totals and worst rows to the user."""
    table = {
        "rows": len(rows),
        "longest": max(len(row.ids) for row in rows),
        "sequence_length": length,
        "too_long": len(found.lost),
        "left_out": found.dropped,
        "lost_tokens": sum(one.lost_tokens for one in found.lost),
        "lost_trained_tokens": sum(one.lost_trained for one in found.lost),
        "answers_without_their_end": sum(one.lost_ends for one in found.lost),
        "worst": [one._asdict() for one in found.lost[:_WORST]],
    }
    write_json_atomic(work.folder / "rows.json", table)
    work.figure("rows_lost", {name: value for name, value in table.items() if name != "worst"})
    if found.lost:
        worst = ", ".join(f"{one.name} (-{one.lost_tokens})" for one in found.lost[:_WORST])
        work.warn(
            f"{table['too_long']} of {len(rows)} rows are longer than {length} tokens: {table['lost_tokens']:,} tokens "
            "are lost, "
            f"{table['lost_trained_tokens']:,} of them of answers, and {table['answers_without_their_end']} answers "
            f"lose their end; worst: {worst}"
        )


def check_ends(windows: Sequence[Window], cut: set[str], base: Path, tokenizer: Any, work: Work) -> int:
    """Return how many answers were seen to end in a token of their own, in the tensors that the trainer gets.

    Warns where a server would not stop at that token.

    Args:
        cut: names of rows that lost the end of an answer, as the user chose, or are text without answers.
        base: the model's folder, which says where generation stops.

    Raises:
        Failure: an answer does not end so: the model would never learn to stop.
    """
    from metier.train.collate import collate

    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    seen: Counter[int] = Counter()
    for window in windows[:_WINDOWS_CHECKED]:
        inputs = collate([window])
        for row, targets in _answers(inputs["targets"].tolist(), inputs["rows"].tolist()):
            name = inputs["names"][row]
            if name in cut:
                continue
            if targets[-1] not in special:
                raise Failure(
                    f"an answer of row {name} does not end in a token that ends turns",
                    found=repr(tokenizer.decode(targets[-12:])),
                    hint="the chat template and the tokenizer disagree: look at masks.txt",
                )
            seen[targets[-1]] += 1
    if not_stopped_at := sorted(set(seen) - stop_ids(base, tokenizer)):
        names = ", ".join(tokenizer.convert_ids_to_tokens(not_stopped_at))
        work.warn(
            f"answers are trained to end in {names}, where the model's generation does not stop: "
            "put it into eos_token_id of generation_config.json"
        )
    return seen.total()


def stop_ids(base: Path, tokenizer: Any) -> set[int]:
    """Return the ids at which a server stops: those of generation_config.json, or else the tokenizer's end token."""
    path = base / "generation_config.json"
    said = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    if said is None:
        return {tokenizer.eos_token_id}
    return set(said) if isinstance(said, list) else {said}


def preview(windows: Sequence[Window], tokenizer: Any, path: Path) -> None:
    """Write the first rows as the trainer gets them, what is trained between ⟦ and ⟧, to a text file."""
    parts = []
    for window in windows[:_ROWS_SHOWN]:
        row = shown(window, tokenizer)
        text = "".join(f"⟦{part}⟧" if trained else part for part, trained in row.parts)
        parts.append(f"=== {row.name}: {row.tokens} tokens, {row.trained} trained\n{text}\n")
    path.write_text("\n".join(parts), encoding="utf-8")


class Shown(NamedTuple):
    """A row as the trainer gets it: name, tokens and how many are trained, its text in parts of (text, trained)."""

    name: str
    tokens: int
    trained: int
    parts: list[tuple[str, bool]]


def shown(window: Window, tokenizer: Any) -> Shown:
    """Return the first row of a window, from the tensors of the trainer's own collator."""
    from metier.train.collate import collate

    inputs = collate([window])
    ids, targets = inputs["input_ids"][0].tolist(), inputs["targets"].tolist()
    of_row = inputs["rows"].tolist()
    where = [at for at in range(len(ids)) if of_row[at] == 0]
    # A target is the token of the next position, so what is trained is what comes after a position with a target.
    trained = [False] + [targets[at] != NOT_TRAINED for at in where[:-1]]
    parts = [
        (str(tokenizer.decode([ids[at] for at, _ in part])), is_trained)
        for is_trained, stretch in groupby(zip(where, trained, strict=True), key=lambda pair: pair[1])
        for part in [list(stretch)]
    ]
    return Shown(inputs["names"][0], len(where), sum(trained), parts)


def _answers(targets: Sequence[int], rows: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each stretch of targets with the index of its row."""
    for (row, trained), part in groupby(
        zip(rows, targets, strict=True), key=lambda pair: (pair[0], pair[1] != NOT_TRAINED)
    ):
        if trained:
            yield row, [target for _, target in part]


def _lost(row: Row, pieces: Sequence[Row], too_long: TooLong) -> Lost:
    if too_long == "split":
        after = len(row.ids) - max((len(piece.ids) for piece in pieces), default=0)
        return Lost(row.name, len(row.ids), after, 0, 0)
    kept = max((len(piece.ids) for piece in pieces), default=0)
    ends = sum(end > kept for _, end in runs(row.mask))
    return Lost(row.name, len(row.ids), len(row.ids) - kept, sum(row.mask[kept:]), ends)


def _refused(found: Sequence[Row], rows: Sequence[Row], length: int, ways: str, why: str) -> Mistake:
    worst = sorted(found, key=lambda row: -len(row.ids))
    told = ", ".join(f"{row.name} ({len(row.ids)} tokens)" for row in worst[:_WORST])
    more = f" and {len(worst) - _WORST} more" if len(worst) > _WORST else ""
    return Mistake(
        f"{len(worst)} of {len(rows)} rows are longer than sequence_length {length}: {why}",
        found=told + more,
        hint=f"set sequence_length: {len(worst[0].ids)}, or too_long: {ways}",
    )
