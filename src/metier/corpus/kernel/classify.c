/* Linear text classifiers: sums of weights over hashed n-grams of tokens, and over the features of a byte automaton.

   All sums are of integers, so neither the order of the additions nor the width of the vector unit changes a bit of
   them: the Python twin in classify.py, any compiler and any processor give the same scores.

   Tokens (classify.py says the same as a regular expression):
     a run of letters, marks and numbers in lower case, each run of digits as at most MOST_DIGITS zeros;
     one Han, Hiragana or Katakana character;
     a run of one punctuation character, counted up to MOST_PUNCT;
     the end of a line, or several of them with white space between;
     a run of anything else that is no white space. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

#define MULTIPLIER 0x9E3779B97F4A7C15u /* the golden ratio in 64 bits: an odd constant with no pattern */
#define SEED_WORD 0x243F6A8885A308D3u  /* digits of pi, one seed a kind of token */
#define SEED_CJK 0x13198A2E03707344u
#define SEED_PUNCT 0xA4093822299F31D0u
#define TOKEN_LINE 0x082EFA98EC4E6C89u
#define TOKEN_BREAK 0x452821E638D01377u
#define TOKEN_OTHER 0xBE5466CF34E90C6Cu
#define MOST_DIGITS 4
#define MOST_PUNCT 3

enum kind { SPACE, LETTER, DIGIT, CJK, PUNCT, LINE, OTHER };

static uint8_t ascii_kind[128];

static inline enum kind kind_of(uint32_t code, uint32_t flags) {
    if (flags & METIER_WORD) return flags & METIER_CJK ? CJK : flags & METIER_DIGIT ? DIGIT : LETTER;
    if (code == '\n') return LINE;
    if (flags & METIER_SPACE) return SPACE;
    return flags & METIER_PUNCT ? PUNCT : OTHER;
}

static inline uint64_t stirred(uint64_t hash, uint64_t next) {
    hash = (hash ^ next) * MULTIPLIER;
    return hash ^ hash >> 29;
}

/* Where the n-grams of one text go: weights are summed, or buckets are written, whichever is given. */
typedef struct {
    const int32_t *weights;
    uint32_t *buckets;
    int64_t sum, count;
    uint64_t last, before; /* the two tokens before; `known` of them are there */
    int known, order, shift;
} sink;

static inline void feature(sink *to, uint64_t hash) {
    uint64_t bucket = hash * MULTIPLIER >> to->shift;
    if (to->buckets != NULL)
        to->buckets[to->count] = (uint32_t)bucket;
    else
        to->sum += to->weights[bucket];
    to->count++;
}

static inline void token(sink *to, uint64_t hash) {
    feature(to, hash);
    if (to->known >= 1 && to->order >= 2) {
        uint64_t pair = stirred(to->last, hash);
        feature(to, pair);
        if (to->known >= 2 && to->order >= 3) feature(to, stirred(to->before, pair));
    }
    to->before = to->last;
    to->last = hash;
    if (to->known < 2) to->known++;
}

static void ngrams(const uint8_t *at, const uint8_t *end, sink *to) {
    enum kind open = SPACE; /* the kind of the token being read; LETTER for words, SPACE for none */
    uint64_t hash = 0;
    uint32_t same = 0; /* the character of a run of punctuation */
    int run = 0;       /* digits, punctuation characters or line ends so far */
    while (at < end) {
        uint32_t code;
        enum kind kind;
        if (*at < 0x80) {
            code = *at++;
            kind = ascii_kind[code];
            if (code - 'A' < 26u) code += 'a' - 'A';
        } else {
            at += metier_decode(at, end, &code);
            kind = kind_of(code, metier_class(code));
            if (kind == LETTER) code = metier_lower(code);
        }
        if (open == LETTER) {
            if (kind == LETTER) {
                hash = stirred(hash, code);
                run = 0;
                continue;
            }
            if (kind == DIGIT) {
                if (run++ < MOST_DIGITS) hash = stirred(hash, '0');
                if (run > MOST_DIGITS) run = MOST_DIGITS;
                continue;
            }
            token(to, hash);
        } else if (open == LINE) {
            if (kind == SPACE) continue;
            if (kind == LINE) {
                run = 2;
                continue;
            }
            token(to, run > 1 ? TOKEN_BREAK : TOKEN_LINE);
        } else if (open == PUNCT) {
            if (kind == PUNCT && code == same) {
                if (run < MOST_PUNCT) {
                    hash = stirred(hash, code);
                    run++;
                }
                continue;
            }
            token(to, hash);
        } else if (open == OTHER) {
            if (kind == OTHER) continue;
            token(to, TOKEN_OTHER);
        }
        open = kind;
        run = 1;
        if (kind == LETTER) {
            hash = stirred(SEED_WORD, code);
            run = 0;
        } else if (kind == DIGIT) {
            hash = stirred(SEED_WORD, '0');
            open = LETTER;
        } else if (kind == PUNCT) {
            hash = stirred(SEED_PUNCT, code);
            same = code;
        } else if (kind == CJK) {
            token(to, stirred(SEED_CJK, code));
            open = SPACE;
        }
    }
    if (open == LETTER || open == PUNCT)
        token(to, hash);
    else if (open == LINE)
        token(to, run > 1 ? TOKEN_BREAK : TOKEN_LINE);
    else if (open == OTHER)
        token(to, TOKEN_OTHER);
}

/* Take hold of a buffer of at least `needed` items of `size` bytes each. Returns 0, or -1 with a Python error set. */
static int held(PyObject *object, Py_buffer *buffer, int flags, Py_ssize_t size, Py_ssize_t needed) {
    if (PyObject_GetBuffer(object, buffer, flags) < 0) return -1;
    if (buffer->len % size == 0 && buffer->len / size >= needed && (uintptr_t)buffer->buf % (uintptr_t)size == 0)
        return 0;
    PyBuffer_Release(buffer);
    PyErr_SetString(PyExc_ValueError, "a buffer is too small, or not aligned");
    return -1;
}

static PyObject *ngram_sums(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *offsets, *data, *weights_object, *sums_object, *counts_object, *result = NULL;
    int bits, order;
    if (!PyArg_ParseTuple(args, "OOOiiOO", &offsets, &data, &weights_object, &bits, &order, &sums_object,
                          &counts_object))
        return NULL;
    if (bits < 1 || bits > 30 || order < 1 || order > 3) {
        PyErr_SetString(PyExc_ValueError, "bits must be 1 to 30 and order 1 to 3");
        return NULL;
    }
    metier_texts texts;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    Py_buffer weights, sums, counts;
    if (held(weights_object, &weights, PyBUF_SIMPLE, 4, (Py_ssize_t)1 << bits) < 0) goto close_texts;
    if (held(sums_object, &sums, PyBUF_WRITABLE, 8, texts.count) < 0) goto close_weights;
    if (held(counts_object, &counts, PyBUF_WRITABLE, 8, texts.count) < 0) goto close_sums;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t text = 0; text < texts.count; text++) {
        sink to = {.weights = weights.buf, .order = order, .shift = 64 - bits};
        ngrams(texts.data + texts.offsets[text], texts.data + texts.offsets[text + 1], &to);
        ((int64_t *)sums.buf)[text] = to.sum;
        ((int64_t *)counts.buf)[text] = to.count;
    }
    Py_END_ALLOW_THREADS;
    result = Py_None;
    Py_INCREF(result);
    PyBuffer_Release(&counts);
close_sums:
    PyBuffer_Release(&sums);
close_weights:
    PyBuffer_Release(&weights);
close_texts:
    metier_texts_close(&texts);
    return result;
}

static PyObject *ngram_buckets(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *offsets, *data, *starts_object, *buckets_object, *result = NULL;
    int bits, order;
    if (!PyArg_ParseTuple(args, "OOiiOO", &offsets, &data, &bits, &order, &starts_object, &buckets_object)) return NULL;
    if (bits < 1 || bits > 30 || order < 1 || order > 3) {
        PyErr_SetString(PyExc_ValueError, "bits must be 1 to 30 and order 1 to 3");
        return NULL;
    }
    metier_texts texts;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    /* No text has more tokens than bytes, and a token gives at most `order` n-grams. */
    int64_t bytes = texts.offsets[texts.count] - texts.offsets[0];
    Py_buffer starts, buckets;
    if (held(starts_object, &starts, PyBUF_WRITABLE, 8, texts.count + 1) < 0) goto close_texts;
    if (held(buckets_object, &buckets, PyBUF_WRITABLE, 4, (Py_ssize_t)bytes * order) < 0) goto close_starts;
    Py_BEGIN_ALLOW_THREADS;
    int64_t total = 0;
    for (Py_ssize_t text = 0; text < texts.count; text++) {
        sink to = {.buckets = (uint32_t *)buckets.buf + total, .order = order, .shift = 64 - bits};
        ((int64_t *)starts.buf)[text] = total;
        ngrams(texts.data + texts.offsets[text], texts.data + texts.offsets[text + 1], &to);
        total += to.count;
    }
    ((int64_t *)starts.buf)[texts.count] = total;
    Py_END_ALLOW_THREADS;
    result = Py_None;
    Py_INCREF(result);
    PyBuffer_Release(&buckets);
close_starts:
    PyBuffer_Release(&starts);
close_texts:
    metier_texts_close(&texts);
    return result;
}

/* A byte automaton: state s reads byte b and goes to moves[rows[s] << 8 | b]; outputs[s] is a feature or negative. */
typedef struct {
    const uint32_t *moves;
    const uint32_t *rows;
    const int32_t *outputs;
    const uint8_t *weights; /* features × classes */
    const int32_t *damping; /* what a feature that is there n times counts, for n below `damped` */
    int64_t states, row_count, features, classes, damped;
} automaton;

/* One text under way: what is left of it, where the automaton is, and where the next feature met goes. */
typedef struct {
    const uint8_t *at, *end;
    uint32_t state;
    int32_t *met;
} lane;

/* Texts that are walked through at once: the tables are larger than a processor's cache, and each step of a text waits
   for memory, which can be done for several of them at the same time. */
#define LANES 8

/* Walk through up to LANES texts. Returns 0, or -1 for tables that point outside themselves. */
static int walk(const automaton *dfa, lane *lanes, int count) {
    lane *active[LANES];
    int left = 0;
    for (int number = 0; number < count; number++)
        if (lanes[number].at < lanes[number].end) active[left++] = &lanes[number];
    while (left > 0) {
        Py_ssize_t steps = active[0]->end - active[0]->at;
        for (int number = 1; number < left; number++)
            if (active[number]->end - active[number]->at < steps) steps = active[number]->end - active[number]->at;
        for (; steps > 0; steps--) {
            for (int number = 0; number < left; number++) {
                lane *one = active[number];
                uint32_t row = dfa->rows[one->state];
                if (row >= dfa->row_count) return -1;
                one->state = dfa->moves[(uint64_t)row << 8 | *one->at++];
                if (one->state >= dfa->states) return -1;
                int32_t output = dfa->outputs[one->state];
                if (output >= dfa->features) return -1;
                if (output >= 0) *one->met++ = output;
            }
        }
        int still = 0;
        for (int number = 0; number < left; number++)
            if (active[number]->at < active[number]->end) active[still++] = active[number];
        left = still;
    }
    return 0;
}

#define BLOCK 256 /* rows of bytes whose sums fit 16 bits */
#define MOST_CLASSES 1024

/* Add what the features that a text met say of each class to `scores`; returns how many different ones they are.
   `counts` is all zero before and after; `met` is overwritten. */
static int64_t sum_up(const automaton *dfa, int32_t *met, int64_t times, int32_t *counts, int64_t *scores) {
    int64_t distinct = 0;
    for (int64_t number = 0; number < times; number++) {
        int32_t feature = met[number];
        if (counts[feature]++ > 0) continue;
        met[distinct++] = feature;
        /* The rows lie far apart in memory: have them come while the counting goes on. */
        const char *row = (const char *)(dfa->weights + (int64_t)feature * dfa->classes);
        for (int64_t line = 0; line < dfa->classes; line += 64) __builtin_prefetch(row + line);
    }
    /* Most features are there once: their rows are added up first and multiplied once. */
    uint16_t block[MOST_CLASSES];
    int pending = 0;
    memset(block, 0, sizeof block);
    for (int64_t number = 0; number <= distinct; number++) {
        if (pending == BLOCK || number == distinct) {
            for (int64_t class = 0; class < dfa->classes; class++)
                scores[class] += (int64_t)block[class] * dfa->damping[1];
            memset(block, 0, sizeof block);
            pending = 0;
        }
        if (number == distinct) break;
        int32_t feature = met[number], count = counts[feature];
        counts[feature] = 0;
        const uint8_t *row = dfa->weights + (int64_t)feature * dfa->classes;
        if (count == 1) {
            for (int64_t class = 0; class < dfa->classes; class++) block[class] += row[class];
            pending++;
            continue;
        }
        int64_t damped = dfa->damping[count < dfa->damped ? count : dfa->damped - 1];
        for (int64_t class = 0; class < dfa->classes; class++) scores[class] += row[class] * damped;
    }
    return distinct;
}

/* Score all texts, LANES at a time. `met` has room for the bytes of any LANES texts that follow each other. */
static int score_texts(const automaton *dfa, const metier_texts *texts, int32_t *counts, int32_t *met, int64_t *scores,
                       int64_t *distinct) {
    for (Py_ssize_t first = 0; first < texts->count; first += LANES) {
        lane lanes[LANES];
        int32_t *starts[LANES];
        int count = texts->count - first < LANES ? (int)(texts->count - first) : LANES;
        int32_t *room = met;
        for (int number = 0; number < count; number++) {
            const uint8_t *at = texts->data + texts->offsets[first + number];
            const uint8_t *end = texts->data + texts->offsets[first + number + 1];
            lanes[number] = (lane){.at = at, .end = end, .state = 0, .met = room};
            starts[number] = room;
            room += end - at;
        }
        if (walk(dfa, lanes, count) < 0) return -1;
        for (int number = 0; number < count; number++)
            distinct[first + number] = sum_up(dfa, starts[number], lanes[number].met - starts[number], counts,
                                              scores + (first + number) * dfa->classes);
    }
    return 0;
}

static PyObject *automaton_scores(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *offsets, *data, *objects[7], *result = NULL;
    long long classes;
    if (!PyArg_ParseTuple(args, "OOOOOOOLOO", &offsets, &data, &objects[0], &objects[1], &objects[2], &objects[3],
                          &objects[4], &classes, &objects[5], &objects[6]))
        return NULL;
    metier_texts texts;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    Py_buffer buffers[7];
    Py_ssize_t sizes[7] = {4, 4, 4, 1, 4, 8, 8};
    Py_ssize_t needed[7] = {256, 1, 1, 1, 2, 0, texts.count};
    int open = 0;
    int32_t *room = NULL;
    if (classes < 1 || classes > MOST_CLASSES) {
        PyErr_SetString(PyExc_ValueError, "there must be 1 to 1024 classes");
        goto close;
    }
    needed[5] = texts.count * (Py_ssize_t)classes;
    for (; open < 7; open++)
        if (held(objects[open], &buffers[open], open < 5 ? PyBUF_SIMPLE : PyBUF_WRITABLE, sizes[open], needed[open]) < 0)
            goto close;
    automaton dfa = {
        .moves = buffers[0].buf, .rows = buffers[1].buf, .outputs = buffers[2].buf, .weights = buffers[3].buf,
        .damping = buffers[4].buf, .row_count = buffers[0].len / 1024, .states = buffers[1].len / 4,
        .features = buffers[3].len / classes, .classes = classes, .damped = buffers[4].len / 4,
    };
    if (buffers[2].len / 4 < dfa.states) {
        PyErr_SetString(PyExc_ValueError, "there must be one output a state");
        goto close;
    }
    int64_t longest = 0;
    for (Py_ssize_t first = 0; first < texts.count; first += LANES) {
        Py_ssize_t stop = first + LANES < texts.count ? first + LANES : texts.count;
        int64_t bytes = texts.offsets[stop] - texts.offsets[first];
        longest = bytes > longest ? bytes : longest;
    }
    room = PyMem_Calloc((size_t)(dfa.features + longest), sizeof(int32_t));
    if (room == NULL) {
        PyErr_NoMemory();
        goto close;
    }
    int broken;
    Py_BEGIN_ALLOW_THREADS;
    memset(buffers[5].buf, 0, (size_t)buffers[5].len);
    broken = score_texts(&dfa, &texts, room, room + dfa.features, buffers[5].buf, buffers[6].buf) < 0;
    Py_END_ALLOW_THREADS;
    if (broken) {
        PyErr_SetString(PyExc_ValueError, "the automaton's tables point outside themselves");
        goto close;
    }
    result = Py_None;
    Py_INCREF(result);
close:
    PyMem_Free(room);
    while (open > 0) PyBuffer_Release(&buffers[--open]);
    metier_texts_close(&texts);
    return result;
}

static PyMethodDef methods[] = {
    {"ngram_sums", ngram_sums, METH_VARARGS, "ngram_sums(offsets, data, weights, bits, order, sums, counts)"},
    {"ngram_buckets", ngram_buckets, METH_VARARGS, "ngram_buckets(offsets, data, bits, order, starts, buckets)"},
    {"automaton_scores", automaton_scores, METH_VARARGS,
     "automaton_scores(offsets, data, moves, rows, outputs, weights, damping, classes, scores, distinct)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_classify", .m_doc = "Sums of linear text classifiers.", .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__classify(void) {
    for (uint32_t code = 0; code < 128; code++) ascii_kind[code] = (uint8_t)kind_of(code, metier_class(code));
    return PyModule_Create(&module);
}
