/* Sets of 64-bit hashes as sorted arrays: sorting, and counting what two have in common. */
#ifndef METIER_SETS_H
#define METIER_SETS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int compare_words(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

/* Room for sorting, which grows as it is needed. */
typedef struct {
    uint64_t *values;
    uint32_t *ends;
    size_t room;
} sorting;

static int sorting_room(sorting *room, size_t count) {
    if (room->room >= count) return 0;
    size_t wanted = count + count / 2;
    free(room->values), free(room->ends);
    room->values = malloc(wanted * sizeof *room->values);
    room->ends = malloc((wanted + 1) * sizeof *room->ends);
    room->room = room->values && room->ends ? wanted : 0;
    return room->room ? 0 : -1;
}

/* Write nearly sorted values in order, each once, to `out`, which may be where they are. Returns how many.

   Of two neighbours the smaller goes first without a branch, which would be foreseen badly; what must go further back
   is rare. `below` is the last but one, or 0 where there is none. */
static size_t insert_distinct(const uint64_t *values, size_t count, uint64_t *out) {
    if (count == 0) return 0;
    uint64_t last = out[0] = values[0], below = 0;
    size_t kept = 1;
    for (size_t at = 1; at < count; at++) {
        uint64_t value = values[at], low = value < last ? value : last, high = value < last ? last : value;
        if (__builtin_expect(low <= below, 0)) {
            size_t place = kept;
            while (place && out[place - 1] > value) place--;
            if (place && out[place - 1] == value) continue;
            for (size_t move = kept; move > place; move--) out[move] = out[move - 1];
            out[place] = value;
            kept++;
            last = out[kept - 1], below = out[kept - 2];
            continue;
        }
        out[kept - 1] = low, out[kept] = high;
        kept += low != high;
        below = low != high ? low : below;
        last = high;
    }
    return kept;
}

/* Sort hashes, leave each once, and return how many are left; SIZE_MAX where there is no memory. At most 2^32 - 1.

   Hashes are spread evenly: dealt by their top bits into a bucket for each, and few in a bucket are left to sort. Where
   many equal ones fill a bucket, qsort keeps it from being quadratic. */
static size_t sort_distinct(uint64_t *values, size_t count, sorting *room) {
    if (count < 24) return insert_distinct(values, count, values);
    if (sorting_room(room, count) < 0) return SIZE_MAX;
    int bits = 63 - __builtin_clzll(count), shift = 64 - bits;
    size_t buckets = (size_t)1 << bits;
    uint32_t *ends = room->ends, most = 0, begin = 0;
    memset(ends, 0, buckets * sizeof *ends);
    for (size_t at = 0; at < count; at++) ends[values[at] >> shift]++;
    for (size_t bucket = 0; bucket < buckets; bucket++) {
        uint32_t size = ends[bucket];
        most = size > most ? size : most;
        ends[bucket] = begin;
        begin += size;
    }
    for (size_t at = 0; at < count; at++) room->values[ends[values[at] >> shift]++] = values[at];
    uint32_t start = 0; /* by now ends[b] is where bucket b ends */
    for (size_t bucket = 0; most > 32 && bucket < buckets; start = ends[bucket++]) {
        uint32_t end = ends[bucket], same = start + 1;
        if (end - start <= 32) continue;
        while (same < end && room->values[same] == room->values[start]) same++;
        if (same < end) qsort(room->values + start, end - start, sizeof *values, compare_words);
    }
    return insert_distinct(room->values, count, values);
}

#define DIGIT_BITS 11

/* Sort words by their bits from `from` up, keeping the order of equal ones (radix sort, the last digit first). `spare`
   has room for as many. Whatever the words, the time is the same but for digits that all share, which are skipped. */
static void radix_sort(uint64_t *values, uint64_t *spare, size_t count, int from) {
    for (int shift = from; shift < 64; shift += DIGIT_BITS) {
        size_t places[1 << DIGIT_BITS] = {0}, begin = 0;
        const uint64_t mask = (1 << DIGIT_BITS) - 1;
        for (size_t at = 0; at < count; at++) places[values[at] >> shift & mask]++;
        if (count == 0 || places[values[0] >> shift & mask] == count) continue;
        for (size_t digit = 0; digit <= mask; digit++) {
            size_t size = places[digit];
            places[digit] = begin;
            begin += size;
        }
        for (size_t at = 0; at < count; at++) spare[places[values[at] >> shift & mask]++] = values[at];
        memcpy(values, spare, count * sizeof *values);
    }
}

#define STRANDS 4

/* Go on in the set that has the smaller hash, or in both. The empty assembler keeps the compiler from branching. */
#define STEP(a, b)                                   \
    do {                                             \
        size_t in_a = *(a) <= *(b), in_b = *(b) <= *(a); \
        __asm__("" : "+r"(in_a), "+r"(in_b));        \
        (a) += in_a, (b) += in_b;                    \
    } while (0)

static const uint64_t *first_not_below(const uint64_t *at, const uint64_t *end, uint64_t least) {
    while (at < end) {
        const uint64_t *middle = at + (end - at) / 2;
        if (*middle < least)
            at = middle + 1;
        else
            end = middle;
    }
    return at;
}

/* Return how many hashes two sorted sets have in common, or -1 as soon as it is clear that they are fewer than `least`.

   A merge without branches waits for each comparison before it knows where to read next. So four merges go on side by
   side, one for each quarter of the hashes' range, and the processor is busy with three while one waits. */
static int64_t shared_count(const uint64_t *one, size_t ones, const uint64_t *other, size_t others, int64_t least) {
    const uint64_t *a[STRANDS], *b[STRANDS], *a_end[STRANDS], *b_end[STRANDS];
    if ((int64_t)ones < least || (int64_t)others < least) return -1;
    for (int strand = 0; strand < STRANDS; strand++) {
        uint64_t from = (uint64_t)strand << 62;
        a[strand] = first_not_below(one, one + ones, from), b[strand] = first_not_below(other, other + others, from);
        if (strand) a_end[strand - 1] = a[strand], b_end[strand - 1] = b[strand];
    }
    a_end[STRANDS - 1] = one + ones, b_end[STRANDS - 1] = other + others;
    int64_t shared = 0;
    for (;;) {
        /* For so many steps none can reach an end; and what is left of either set bounds what may still be shared. */
        ptrdiff_t steps = 64, left_one = 0, left_other = 0;
        for (int strand = 0; strand < STRANDS; strand++) {
            ptrdiff_t here = a_end[strand] - a[strand], there = b_end[strand] - b[strand];
            left_one += here, left_other += there;
            steps = here < steps ? here : steps, steps = there < steps ? there : steps;
        }
        if (shared + (left_one < left_other ? left_one : left_other) < least) return -1;
        if (steps < 4) break;
        const uint64_t *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3], *b0 = b[0], *b1 = b[1], *b2 = b[2], *b3 = b[3];
        shared -= STRANDS * steps;
        for (; steps; steps--) {
            STEP(a0, b0);
            STEP(a1, b1);
            STEP(a2, b2);
            STEP(a3, b3);
        }
        /* Where the hashes were equal both went on: that many more moves than steps. */
        shared += (a0 - a[0]) + (a1 - a[1]) + (a2 - a[2]) + (a3 - a[3]);
        shared += (b0 - b[0]) + (b1 - b[1]) + (b2 - b[2]) + (b3 - b[3]);
        a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3, b[0] = b0, b[1] = b1, b[2] = b2, b[3] = b3;
    }
    for (int strand = 0; strand < STRANDS; strand++) {
        while (a[strand] < a_end[strand] && b[strand] < b_end[strand]) {
            uint64_t x = *a[strand], y = *b[strand];
            a[strand] += x <= y, b[strand] += y <= x, shared += x == y;
        }
    }
    return shared >= least ? shared : -1;
}

#endif
