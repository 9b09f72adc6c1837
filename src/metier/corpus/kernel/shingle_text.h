/* One text from end to end: its measures, its set of shingles, its exact hash. */
#ifndef METIER_SHINGLE_TEXT_H
#define METIER_SHINGLE_TEXT_H

#include "paths.h"
#include "sketch.h"

static void window_begin(window *w, const uint8_t *at, const uint8_t *end) {
    w->at = at, w->end = end;
    w->tokens = w->carried = w->total = 0;
    w->filled = w->open = 0, w->begun = 0;
}

/* Leave the next shingles of the text in w->shingles, maybe none, and return whether there was text left for them. */
static int window_next(window *w, int width, size_t *count) {
    if (w->at == w->end) return 0;
    if (w->open) {
        /* The token that goes on: its whole blocks are hashed, though not the last, and the rest moves to the front. */
        uint32_t start = w->starts[w->tokens], whole = (w->filled - start - 1) / 16 * 16;
        w->begun = chosen->hash_token(w->tokens ? 0 : w->begun, w->lower + start, whole);
        w->filled -= start + whole;
        memmove(w->lower, w->lower + start + whole, w->filled);
        w->starts[0] = 0;
    } else {
        w->filled = 0, w->begun = 0;
    }
    chosen->fill(w);
    chosen->hash_tokens(w, w->hashes + w->carried);
    size_t have = w->carried + w->tokens, wide = (size_t)width;
    w->total += w->tokens;
    if (w->at == w->end && w->total && w->total < wide) { /* a text shorter than a shingle: all of it is one */
        chosen->hash_shingles(w->hashes, 1, (int)w->total, w->shingles);
        *count = 1;
        return 1;
    }
    *count = have >= wide ? have - wide + 1 : 0;
    chosen->hash_shingles(w->hashes, *count, width, w->shingles);
    w->carried = have < wide ? have : wide - 1;
    memmove(w->hashes, w->hashes + have - w->carried, w->carried * sizeof *w->hashes);
    return 1;
}

/* What one call needs besides its arguments. It is kept for the next, for memory fresh from the system is slow. */
typedef struct {
    window window;
    sketch sketch;
    sorting sorting;
} workspace;

static workspace *spare;

static workspace *workspace_take(void) {
    workspace *found = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL);
    return found ? found : calloc(1, sizeof *found);
}

static void workspace_give(workspace *used) {
    if (used && used->sorting.room > 16 * WINDOW) { /* after a very long text */
        free(used->sorting.values), free(used->sorting.ends);
        used->sorting = (sorting){0};
    }
    used = __atomic_exchange_n(&spare, used, __ATOMIC_ACQ_REL);
    if (!used) return;
    free(used->sorting.values), free(used->sorting.ends);
    free(used);
}

/* What is to be found out about texts in one go. */
typedef struct {
    int width;
    uint64_t bands, rows;
    uint64_t *keys, *simhash; /* NULL where not wanted, as are sketches */
    uint8_t *sketches;
    int64_t *tokens;
} measuring;

/* Returns -1 where there is no memory. */
static int measure_text(const measuring *m, workspace *work, const uint8_t *at, const uint8_t *end, Py_ssize_t number) {
    uint64_t bits[64] = {0}, shingles = 0, bins = m->bands * m->rows;
    size_t count;
    int sketched = m->keys || m->sketches;
    window_begin(&work->window, at, end);
    sketch_begin(&work->sketch, bins);
    while (window_next(&work->window, m->width, &count)) {
        shingles += count;
        if (sketched && sketch_add(&work->sketch, work->window.shingles, count, &work->sorting) < 0) return -1;
        if (m->simhash) chosen->count_bits(work->window.shingles, count, bits);
    }
    if (sketched && sketch_finish(&work->sketch, &work->sorting) < 0) return -1;
    m->tokens[number] = (int64_t)work->window.total;
    if (m->keys) sketch_keys(&work->sketch, m->bands, m->rows, m->keys + (uint64_t)number * m->bands);
    for (uint64_t bin = 0; m->sketches && bin < bins; bin++)
        m->sketches[(uint64_t)number * bins + bin] = (uint8_t)work->sketch.bins[bin];
    if (m->simhash) {
        uint64_t hash = 0;
        for (int bit = 0; bit < 64; bit++) hash |= (uint64_t)(2 * bits[bit] > shingles) << bit;
        m->simhash[number] = hash;
    }
    return 0;
}

typedef struct {
    int width;
    uint64_t most; /* larger hashes are left out */
    uint64_t *out;
    size_t room, used;
} collecting;

/* Sort what was collected from `begin` on, and leave each hash once. Returns -1 where there is no memory. */
static int collect_sorted(collecting *c, workspace *work, size_t begin) {
    size_t count = c->used - begin;
    size_t distinct = count > UINT32_MAX ? SIZE_MAX : sort_distinct(c->out + begin, count, &work->sorting);
    if (distinct == SIZE_MAX) return -1;
    c->used = begin + distinct;
    return 0;
}

/* Append a text's set. Returns -1 where there is no memory, -2 where there is no room. A long text that says the same
   again and again is sorted on the way, so that memory grows with what is different in it. */
static int collect_text(collecting *c, workspace *work, const uint8_t *at, const uint8_t *end) {
    size_t begin = c->used, count, sort_at = begin + (1 << 20);
    window_begin(&work->window, at, end);
    while (window_next(&work->window, c->width, &count)) {
        if (count > c->room - c->used) return -2;
        uint64_t *out = c->out + c->used;
        for (size_t shingle = 0; shingle < count; shingle++) {
            *out = work->window.shingles[shingle];
            out += work->window.shingles[shingle] <= c->most;
        }
        c->used = (size_t)(out - c->out);
        if (c->used < sort_at) continue;
        if (collect_sorted(c, work, begin) < 0) return -1;
        sort_at = begin + 2 * (c->used - begin) + (1 << 20);
    }
    return collect_sorted(c, work, begin);
}

/* Hash a text with its white space made even. Runs of stripes are hashed as the buffer fills; the last byte always
   waits, for if it is a blank and the text ends there, it goes. */
static void exact_text(const uint8_t *at, const uint8_t *end, uint8_t *buffer, uint64_t out[2]) {
    uint64_t lanes[8], space = 1, length = 0;
    for (int lane = 0; lane < 8; lane++) lanes[lane] = K3 * (uint64_t)(lane + 1);
    size_t filled = 0;
    while (at < end) {
        uint64_t size = end - at < 64 ? (uint64_t)(end - at) : 64;
        filled += chosen->collapse(at, &size, buffer + filled, &space);
        at += size;
        while (at < end && filled < WINDOW && (*at >= 0x80 || (end - at >= 8 && load_word(at) & 0x8080808080808080ull))) {
            uint32_t code;
            at += metier_decode(at, end, &code);
            if (metier_class(code) & METIER_SPACE) {
                if (!space) buffer[filled++] = ' ';
                space = 1;
            } else {
                filled += (size_t)metier_encode(code, buffer + filled), space = 0;
            }
        }
        if (filled >= WINDOW) {
            size_t stripes = (filled - 1) / 64;
            chosen->stripes(lanes, buffer, stripes);
            length += stripes * 64, filled -= stripes * 64;
            memmove(buffer, buffer + stripes * 64, filled);
        }
    }
    if (filled && space) filled--;
    length += filled;
    memset(buffer + filled, 0, 64);
    chosen->stripes(lanes, buffer, (filled + 63) / 64);
    uint64_t one = length * K1, other = ~length;
    for (int lane = 0; lane < 8; lane++) {
        one = mix(one ^ lanes[lane]);
        other = mix(rotate(other, 23) ^ lanes[lane] * K1);
    }
    out[0] = one, out[1] = other;
}

#endif
