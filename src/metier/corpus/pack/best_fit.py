"""Put pieces of documents into windows of one length without cutting them."""

from __future__ import annotations

from collections.abc import Sequence


def cut_lengths(length: int, capacity: int) -> list[int]:
    """Return the lengths of the pieces of a document: full windows and a rest, as few as possible.

    A rest of one token would never be predicted, so the piece before it leaves it another.
    """
    full, rest = divmod(length, capacity)
    lengths = [capacity] * full + ([rest] if rest else [])
    if rest == 1 and full and capacity > 2:
        lengths[-2:] = [capacity - 1, 2]
    return lengths


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return bins of indices: longest piece first, each into the fullest bin that still has room for it.

    Best-fit decreasing needs at most 11/9 of the fewest bins possible, plus one (Johnson 1974). To pack documents in
    this way is the method of Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830).
    Bins with the same room are one stack, and a bit mask says which rooms there are, so that a piece costs
    O(capacity / 64) whatever the number of bins. In a bin, indices rise.

    Args:
        lengths: of the pieces, none above `capacity`.
    """
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set where a bin has room for r more
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[index]
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            chosen = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room, chosen = capacity, len(bins)
            bins.append([])
        bins[chosen].append(index)
        left = room - length
        if left:
            by_room[left].append(chosen)
            rooms |= 1 << left
    for one in bins:
        one.sort()
    return bins


def in_order(lengths: Sequence[int], capacity: int, buffer: int) -> list[list[int]]:
    """Return bins of indices that follow each other nearly as the pieces do.

    A window takes the pieces that wait, oldest first, and then those that come, each as long as it fits. One that does
    not fit waits for the next window; when `buffer` pieces wait, the window is closed. The oldest that waits opens the
    next window, so none waits for long.

    Args:
        lengths: of the pieces, none above `capacity`.
    """
    bins = []
    waiting: list[int] = []
    coming = 0
    while waiting or coming < len(lengths):
        chosen, passed, room = list[int](), list[int](), capacity
        for index in waiting:
            fits = lengths[index] <= room
            (chosen if fits else passed).append(index)
            room -= lengths[index] if fits else 0
        while room and coming < len(lengths) and (lengths[coming] <= room or len(passed) < buffer):
            fits = lengths[coming] <= room
            (chosen if fits else passed).append(coming)
            room -= lengths[coming] if fits else 0
            coming += 1
        bins.append(chosen)
        waiting = passed
    return bins
