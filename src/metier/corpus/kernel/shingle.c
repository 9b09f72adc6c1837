/* The compiled half of shingle.py, which says what each function returns and gives the same without a compiler. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define K0 0x9E3779B97F4A7C15ull /* odd, with bits set and unset throughout; also in shingle_python.py */
#define K1 0xC2B2AE3D27D4EB4Full
#define K2 0xD6E8FEB86659FD93ull
#define K3 0xA0761D6478BD642Full
#define MOST_WIDTH 64
#define MOST_BINS 1024
#define EMPTY_BIN UINT32_MAX
#define WINDOW 8192 /* bytes of lower-case text at a time: with its tokens and hashes it stays in the L2 cache */
#define SLACK 128

static inline uint64_t rotate(uint64_t x, int by) { return x << (by & 63) | x >> (-by & 63); }

static inline uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= K2;
    return x ^ x >> 29;
}

static inline uint64_t load_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void store_word(uint8_t *at, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

#include "sets.h"

/* What of two words belongs to a block of n bytes. */
#define LOW(n) ((n) <= 0 ? 0ull : (n) >= 8 ? ~0ull : ~0ull >> (64 - 8 * (n)))
#define MASK(n) {LOW(n), LOW((n) - 8)}
static const uint64_t MASKS[17][2] = {MASK(0),  MASK(1),  MASK(2),  MASK(3),  MASK(4),  MASK(5),
                                      MASK(6),  MASK(7),  MASK(8),  MASK(9),  MASK(10), MASK(11),
                                      MASK(12), MASK(13), MASK(14), MASK(15), MASK(16)};

static _Alignas(64) uint8_t PLACES[64]; /* 0, 1, … 63 */

/* A text on its way through, WINDOW bytes at a time: memory does not grow with it, nor with the longest token. */
typedef struct {
    const uint8_t *at, *end;        /* what of the text is left */
    size_t tokens, carried, total;  /* tokens complete in this window, hashes kept from before, tokens so far */
    uint32_t filled, open;          /* bytes in `lower`; whether the last token goes on in the next window */
    uint64_t begun;                 /* hash of that part of the first token that was in earlier windows */
    uint32_t starts[WINDOW + SLACK], ends[WINDOW + SLACK]; /* of tokens, in `lower`: at most one a byte */
    uint64_t hashes[WINDOW + SLACK + MOST_WIDTH]; /* of tokens: `carried` old ones, then those of this window */
    uint64_t shingles[WINDOW + SLACK + MOST_WIDTH];
    uint8_t lower[WINDOW + 2 * SLACK]; /* the tokens in lower case */
} window;

#define METIER_PATH portable
#define METIER_TARGET
#include "tokens.h"

#if defined(__x86_64__)
#define METIER_PATH avx2
#define METIER_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define METIER_AVX2
#include "tokens.h"
#undef METIER_AVX2

#define METIER_PATH avx512
#define METIER_TARGET \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")))
#define METIER_AVX512
#include "tokens.h"
#undef METIER_AVX512
#endif

typedef struct {
    const char *name;
    void (*fill)(window *);
    uint64_t (*hash_token)(uint64_t, const uint8_t *, size_t);
    void (*hash_tokens)(const window *, uint64_t *);
    void (*hash_shingles)(const uint64_t *, size_t, int, uint64_t *);
    void (*count_bits)(const uint64_t *, size_t, uint64_t *);
    void (*stripes)(uint64_t *, const uint8_t *, size_t);
    size_t (*collapse)(const uint8_t *, uint64_t *, uint8_t *, uint64_t *);
    void (*again)(const uint64_t *, size_t, uint64_t, uint64_t *);
    void (*pour)(const uint64_t *, size_t, uint64_t, uint32_t *);
    int (*refill)(const uint64_t *, size_t, uint64_t, uint32_t *, uint32_t *);
    uint16_t (*alike)(const uint8_t *, const uint8_t *, size_t);
} path;

#define PATH(name)                                                                                            \
    {#name,           fill_##name,    hash_token_##name, hash_tokens_##name, hash_shingles_##name, count_bits_##name, \
     stripes_##name, collapse_##name, again_##name, pour_##name, refill_##name, alike_##name}
static const path PATHS[] = {
    PATH(portable),
#if defined(__x86_64__)
    PATH(avx2),
    PATH(avx512),
#endif
};
static const path *chosen = &PATHS[0];

#include "sketch.h"

static int available(const char *name) {
#if defined(__x86_64__)
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
#endif
    return !strcmp(name, "portable");
}

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

/* Take hold of a buffer of exactly `wanted` bytes to write into, or of none (None). Returns -1 with an error set. */
static int output(PyObject *object, Py_buffer *buffer, Py_ssize_t wanted) {
    buffer->obj = NULL, buffer->buf = NULL;
    if (object == Py_None) return 0;
    if (PyObject_GetBuffer(object, buffer, PyBUF_WRITABLE) < 0) return -1;
    if (buffer->len == wanted) return 0;
    PyBuffer_Release(buffer);
    PyErr_SetString(PyExc_ValueError, "a buffer for results has the wrong size");
    return -1;
}

static PyObject *measure(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *offsets, *data, *keys, *sketches, *simhash, *tokens, *result = NULL;
    int width, bands, rows;
    metier_texts texts;
    Py_buffer keys_buffer = {0}, sketches_buffer = {0}, simhash_buffer = {0}, tokens_buffer = {0};
    if (!PyArg_ParseTuple(args, "OOiiiOOOO", &offsets, &data, &width, &bands, &rows, &keys, &sketches, &simhash, &tokens))
        return NULL;
    if (width < 1 || width > MOST_WIDTH || bands < 1 || rows < 1 || bands > MOST_BINS / rows)
        return PyErr_Format(PyExc_ValueError, "width is 1 to %d, bands * rows at most %d", MOST_WIDTH, MOST_BINS);
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    workspace *work = workspace_take();
    Py_ssize_t words = texts.count * (Py_ssize_t)sizeof(uint64_t);
    if (!work) {
        PyErr_NoMemory();
    } else if (output(keys, &keys_buffer, words * bands) == 0 &&
               output(sketches, &sketches_buffer, texts.count * bands * rows) == 0 &&
               output(simhash, &simhash_buffer, words) == 0 && output(tokens, &tokens_buffer, words) == 0) {
        measuring m = {width,           (uint64_t)bands,     (uint64_t)rows,   keys_buffer.buf,
                       simhash_buffer.buf, sketches_buffer.buf, tokens_buffer.buf};
        int failed = m.tokens ? 0 : -2;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t at = 0; !failed && at < texts.count; at++)
            failed = measure_text(&m, work, texts.data + texts.offsets[at], texts.data + texts.offsets[at + 1], at);
        Py_END_ALLOW_THREADS;
        if (failed == -2)
            PyErr_SetString(PyExc_ValueError, "tokens are not optional");
        else
            result = failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
    }
    workspace_give(work);
    PyBuffer_Release(&keys_buffer), PyBuffer_Release(&sketches_buffer), PyBuffer_Release(&simhash_buffer);
    PyBuffer_Release(&tokens_buffer);
    metier_texts_close(&texts);
    return result;
}

typedef struct {
    int width;
    uint64_t most; /* larger hashes are left out */
    uint64_t *out;
    size_t room, used;
} collecting;

/* Sort what was collected from `begin` on, and leave each hash once. Returns -1 where there is no memory. */
static int collect_sorted(collecting *c, workspace *work, size_t begin) {
    size_t distinct = c->used - begin > UINT32_MAX ? SIZE_MAX : sort_distinct(c->out + begin, c->used - begin, &work->sorting);
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

static PyObject *sets(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *offsets, *data, *out, *ends, *result = NULL;
    Py_buffer which = {0}, out_buffer = {0}, ends_buffer = {0};
    unsigned long long most;
    int width;
    metier_texts texts;
    workspace *work = NULL;
    if (!PyArg_ParseTuple(args, "OOy*iKOO", &offsets, &data, &which, &width, &most, &out, &ends)) return NULL;
    Py_ssize_t count = which.len / (Py_ssize_t)sizeof(int64_t);
    const int64_t *numbers = which.buf;
    if (metier_texts_hold(&texts, offsets, data) < 0) {
        PyBuffer_Release(&which);
        return NULL;
    }
    int right = width >= 1 && width <= MOST_WIDTH;
    for (Py_ssize_t at = 0; right && at < count; at++)
        right = numbers[at] >= 0 && numbers[at] < texts.count && metier_text_right(&texts, numbers[at]);
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "the width is 1 to 64, numbers are those of texts, and these within the data");
    } else if (!(work = workspace_take())) {
        PyErr_NoMemory();
    } else if (PyObject_GetBuffer(out, &out_buffer, PyBUF_WRITABLE) == 0 && output(ends, &ends_buffer, which.len) == 0) {
        collecting c = {width, most, out_buffer.buf, (size_t)out_buffer.len / sizeof(uint64_t), 0};
        int failed = 0;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t at = 0; !failed && at < count; at++) {
            const int64_t *place = texts.offsets + numbers[at];
            failed = collect_text(&c, work, texts.data + place[0], texts.data + place[1]);
            ((int64_t *)ends_buffer.buf)[at] = (int64_t)c.used;
        }
        Py_END_ALLOW_THREADS;
        if (failed == -2)
            PyErr_SetString(PyExc_ValueError, "there is too little room for the shingles");
        else
            result = failed ? PyErr_NoMemory() : PyLong_FromSize_t(c.used);
    }
    workspace_give(work);
    PyBuffer_Release(&which), PyBuffer_Release(&out_buffer), PyBuffer_Release(&ends_buffer);
    metier_texts_close(&texts);
    return result;
}

static PyObject *shared(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer values, starts, ends, one, other, least, out = {0};
    PyObject *result = NULL, *counts;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*O", &values, &starts, &ends, &one, &other, &least, &counts)) return NULL;
    Py_ssize_t pairs = one.len / (Py_ssize_t)sizeof(int64_t), sets = ends.len / (Py_ssize_t)sizeof(int64_t);
    const uint64_t *all = values.buf;
    const int64_t *begin = starts.buf, *end = ends.buf, *ones = one.buf, *others = other.buf, *needed = least.buf;
    int right = starts.len == ends.len && other.len == one.len && least.len == one.len;
    for (Py_ssize_t at = 0; right && at < 2 * pairs; at++) {
        int64_t set = at < pairs ? ones[at] : others[at - pairs];
        right = set >= 0 && set < sets && begin[set] >= 0 && begin[set] <= end[set] &&
                end[set] <= values.len / (Py_ssize_t)sizeof(uint64_t);
    }
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "pairs are of sets that are there, and lists of pairs have one length");
    } else if (output(counts, &out, one.len) == 0) {
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t pair = 0; pair < pairs; pair++) {
            int64_t a = ones[pair], b = others[pair];
            ((int64_t *)out.buf)[pair] = shared_count(all + begin[a], (size_t)(end[a] - begin[a]), all + begin[b],
                                                      (size_t)(end[b] - begin[b]), needed[pair]);
        }
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&values), PyBuffer_Release(&starts), PyBuffer_Release(&ends), PyBuffer_Release(&one);
    PyBuffer_Release(&other), PyBuffer_Release(&least), PyBuffer_Release(&out);
    return result;
}

/* Count the equal bytes of pairs of rows of a matrix. */
static PyObject *alike(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer sketches, one, other, out = {0};
    PyObject *counts, *result = NULL;
    int size;
    if (!PyArg_ParseTuple(args, "y*iy*y*O", &sketches, &size, &one, &other, &counts)) return NULL;
    Py_ssize_t pairs = one.len / (Py_ssize_t)sizeof(int64_t), rows = size > 0 ? sketches.len / size : 0;
    const int64_t *ones = one.buf, *others = other.buf;
    int right = one.len == other.len && size > 0 && size <= MOST_BINS;
    for (Py_ssize_t pair = 0; right && pair < pairs; pair++)
        right = ones[pair] >= 0 && ones[pair] < rows && others[pair] >= 0 && others[pair] < rows;
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "pairs are of rows that are there, and lists of pairs have one length");
    } else if (output(counts, &out, pairs * (Py_ssize_t)sizeof(uint16_t)) == 0) {
        const uint8_t *all = sketches.buf;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t pair = 0; pair < pairs; pair++)
            ((uint16_t *)out.buf)[pair] = chosen->alike(all + ones[pair] * size, all + others[pair] * size, (size_t)size);
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&sketches), PyBuffer_Release(&one), PyBuffer_Release(&other), PyBuffer_Release(&out);
    return result;
}

/* Write the places of keys in the order of their upper 33 bits, equal ones in the order in which they come. */
static PyObject *order(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer keys, places = {0};
    PyObject *out, *result = NULL;
    if (!PyArg_ParseTuple(args, "y*O", &keys, &out)) return NULL;
    Py_ssize_t count = keys.len / (Py_ssize_t)sizeof(uint64_t);
    const uint64_t low = (1ull << 31) - 1, *all = keys.buf;
    if ((uint64_t)count > low) {
        PyErr_SetString(PyExc_ValueError, "there may be 2**31 - 1 keys");
    } else if (output(out, &places, count * (Py_ssize_t)sizeof(int64_t)) == 0) {
        uint64_t *sorted = places.buf, *spare = malloc(((size_t)count + 1) * sizeof *spare);
        if (spare) {
            Py_BEGIN_ALLOW_THREADS;
            for (Py_ssize_t at = 0; at < count; at++) sorted[at] = (all[at] & ~low) | (uint64_t)at;
            radix_sort(sorted, spare, (size_t)count, 31);
            for (Py_ssize_t at = 0; at < count; at++) sorted[at] &= low;
            Py_END_ALLOW_THREADS;
            free(spare);
        }
        result = spare ? Py_NewRef(Py_None) : PyErr_NoMemory();
    }
    PyBuffer_Release(&keys), PyBuffer_Release(&places);
    return result;
}

/* Sort words in place, leave each once, and return how many are left. */
static PyObject *distinct(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer words = {0};
    PyObject *object, *result = NULL;
    if (!PyArg_ParseTuple(args, "O", &object)) return NULL;
    if (PyObject_GetBuffer(object, &words, PyBUF_WRITABLE) < 0) return NULL;
    size_t count = (size_t)words.len / sizeof(uint64_t), kept = count > 0;
    uint64_t *values = words.buf, *spare = malloc((count + 1) * sizeof *spare);
    if (spare) {
        Py_BEGIN_ALLOW_THREADS;
        radix_sort(values, spare, count, 0);
        for (size_t at = 1; at < count; at++)
            if (values[at] != values[kept - 1]) values[kept++] = values[at];
        Py_END_ALLOW_THREADS;
        free(spare);
    }
    result = spare ? PyLong_FromSize_t(kept) : PyErr_NoMemory();
    PyBuffer_Release(&words);
    return result;
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

static PyObject *exact(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *offsets, *data, *hashes, *result = NULL;
    metier_texts texts;
    Py_buffer out;
    if (!PyArg_ParseTuple(args, "OOO", &offsets, &data, &hashes)) return NULL;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    if (output(hashes, &out, texts.count * 2 * (Py_ssize_t)sizeof(uint64_t)) == 0) {
        uint8_t *buffer = malloc(WINDOW + 4 * SLACK);
        if (buffer) {
            Py_BEGIN_ALLOW_THREADS;
            for (Py_ssize_t at = 0; at < texts.count; at++)
                exact_text(texts.data + texts.offsets[at], texts.data + texts.offsets[at + 1], buffer,
                           (uint64_t *)out.buf + 2 * at);
            Py_END_ALLOW_THREADS;
            free(buffer);
        }
        result = buffer ? Py_NewRef(Py_None) : PyErr_NoMemory();
        PyBuffer_Release(&out);
    }
    metier_texts_close(&texts);
    return result;
}

/* use(name) -> the instruction set in use; with a name, change to it. */
static PyObject *use(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name = NULL;
    if (!PyArg_ParseTuple(args, "|z", &name)) return NULL;
    for (size_t at = 0; name && at < sizeof PATHS / sizeof *PATHS; at++) {
        if (strcmp(PATHS[at].name, name) || !available(name)) continue;
        chosen = &PATHS[at];
        name = NULL;
    }
    if (name) return PyErr_Format(PyExc_ValueError, "this processor has no '%s'", name);
    return PyUnicode_FromString(chosen->name);
}

static PyMethodDef METHODS[] = {
    {"measure", measure, METH_VARARGS, "measure(offsets, data, width, bands, rows, keys, sketches, simhash, tokens)"},
    {"sets", sets, METH_VARARGS, "sets(offsets, data, which, width, most, out, ends) -> used"},
    {"shared", shared, METH_VARARGS, "shared(values, starts, ends, one, other, least, out)"},
    {"alike", alike, METH_VARARGS, "alike(sketches, size, one, other, out)"},
    {"order", order, METH_VARARGS, "order(keys, out)"},
    {"distinct", distinct, METH_VARARGS, "distinct(words) -> kept"},
    {"exact", exact, METH_VARARGS, "exact(offsets, data, out)"},
    {"use", use, METH_VARARGS, "use(name=None) -> name"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_shingle", .m_size = 0, .m_methods = METHODS};

PyMODINIT_FUNC PyInit__shingle(void) {
    for (int place = 0; place < 64; place++) PLACES[place] = (uint8_t)place;
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    for (size_t at = 0; at < sizeof PATHS / sizeof *PATHS; at++)
        if (available(PATHS[at].name)) chosen = &PATHS[at];
    return PyModuleDef_Init(&MODULE);
}
