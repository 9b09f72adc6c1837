/* MinHash sketches and their bands. */
#ifndef METIER_SKETCH_H
#define METIER_SKETCH_H

#include <stdint.h>
#include <string.h>

#include "paths.h"
#include "sets.h"

#define HELD 4096 /* more distinct shingles than these leave one of 128 bins empty once in 10^12 documents */

/* A sketch under way: one bin a row of a band.

   Fast similarity sketching (Dahlgaard, Knudsen and Thorup, FOCS 2017): in each round every shingle falls into one bin
   by a hash of that round, and the smallest of those that fall into an empty bin stays. A long document fills all bins in
   one round, at the cost of one comparison a shingle; a short one takes more, and is estimated as well as by as many
   permutations. Rounds end when no bin is empty; from round `bins` on, round r fills bin r - bins alone.

   `held` keeps the shingles for later rounds. A document with more than HELD distinct ones has only the first round. */
typedef struct {
    uint32_t bins[MOST_BINS];
    uint32_t open[MOST_BINS]; /* what fell into bins that were empty before this round; 0 for those that were not */
    uint64_t count, held_count;
    int done; /* no later round will change anything */
    uint64_t held[2 * HELD], hashes[2 * HELD];
} sketch;

static void sketch_begin(sketch *s, uint64_t bins) {
    s->count = bins, s->held_count = 0, s->done = 0;
    memset(s->bins, 0xFF, bins * sizeof *s->bins);
}

/* Leave each held shingle once. Returns -1 where there is no memory. */
static int sketch_compact(sketch *s, sorting *room) {
    size_t distinct = sort_distinct(s->held, s->held_count, room);
    if (distinct == SIZE_MAX) return -1;
    s->held_count = distinct;
    s->done |= distinct > HELD;
    return 0;
}

/* Add the shingles of one window. Returns -1 where there is no memory. */
static int sketch_add(sketch *s, const uint64_t *shingles, size_t count, sorting *room) {
    chosen->pour(shingles, count, s->count, s->bins);
    if (!s->done) s->done = !chosen->refill(shingles, 0, s->count, s->bins, s->open);
    while (count && !s->done) {
        size_t space = 2 * HELD - s->held_count, here = count < space ? count : space;
        memcpy(s->held + s->held_count, shingles, here * sizeof *shingles);
        s->held_count += here, shingles += here, count -= here;
        if (s->held_count == 2 * HELD && sketch_compact(s, room) < 0) return -1;
    }
    return 0;
}

/* Do the rounds that are left. Returns -1 where there is no memory. */
static int sketch_finish(sketch *s, sorting *room) {
    if (s->held_count > HELD && !s->done && sketch_compact(s, room) < 0) return -1;
    for (uint64_t round = 1; round < 2 * s->count && s->held_count && !s->done; round++) {
        /* A document that says the same again and again need not be gone over again and again. */
        if (round == 4 && sketch_compact(s, room) < 0) return -1;
        uint64_t alone = round - s->count;
        if (round >= s->count && s->bins[alone] != EMPTY_BIN) continue;
        chosen->again(s->held, s->held_count, round, s->hashes);
        uint64_t bins = round < s->count ? s->count : 1;
        uint32_t *least = round < s->count ? s->bins : s->bins + alone;
        s->done = !chosen->refill(s->hashes, s->held_count, bins, least, s->open) && round < s->count;
    }
    return 0;
}

/* Write one key for each band of `rows` bins: equal, but for chance in 2^64, only if all of the bins are. */
static void sketch_keys(const sketch *s, uint64_t bands, uint64_t rows, uint64_t *keys) {
    for (uint64_t band = 0; band < bands; band++) {
        uint64_t key = (band + 1) * K1;
        for (uint64_t row = 0; row < rows; row++) key = mix(key ^ s->bins[band * rows + row]);
        keys[band] = key;
    }
}

#endif
