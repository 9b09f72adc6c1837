/* Cut UTF-8 text into the pieces within which a byte-level BPE tokenizer merges, give every distinct piece a number, and
 * merge its bytes to ids. A tokenizer spends its time on pieces that it has seen before; here they cost one look-up.
 *
 * The cuts are those of metier.core.pretokenizers. Which characters are letters, numbers and spaces comes from Python
 * as a table, one byte a code point. A text with a character of class UNKNOWN, or with
 * a piece of more than LONGEST bytes, is refused.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OTHER, LETTER, NUMBER, SPACE, UNKNOWN };
enum { GPT2, SMOLLM, LLAMA, QWEN };
#define CODE_POINTS 0x110000
#define LONGEST (1 << 16) /* bytes of a piece: longer ones do not come twice */
#define NONE UINT32_MAX
#define LONGEST_MERGED 512 /* bytes of a piece: the merging below is quadratic */
#define NAME "metier.corpus.kernel._pretokens"

typedef struct {
    uint64_t hash;
    uint64_t at; /* where the piece lies in `bytes` */
    uint32_t length;
    uint32_t number; /* counted from 1; 0 is an empty slot */
} Slot;

typedef struct {
    uint64_t pair; /* the ids of its two parts */
    uint32_t rank; /* counted from 1; 0 is an empty slot */
    uint32_t id;
} Merge;

typedef struct {
    uint8_t classes[CODE_POINTS];
    int cut;
    uint32_t of_byte[256]; /* ids of single bytes; NONE where the vocabulary has none */
    Merge *merges;
    uint64_t merge_mask;
    Slot *slots;
    uint64_t mask, count;
    uint64_t *starts; /* of each piece in `bytes`, by number, and the end of the last */
    uint64_t starts_room;
    uint8_t *bytes;
    uint64_t used, room;
} Pieces;

/* ---- characters ---- */

/* Return the class of the character at p and its length; of bytes that are no UTF-8, UNKNOWN and 1. */
static inline int class_at(const Pieces *pieces, const uint8_t *p, const uint8_t *end, int *length) {
    uint32_t c = *p;
    *length = 1;
    if (c < 0x80) return pieces->classes[c];
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    if (c < 0xC2 || c > 0xF4 || end - p <= more) return UNKNOWN;
    c &= 0x3F >> more;
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80) return UNKNOWN;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c >= CODE_POINTS || c < (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u)) return UNKNOWN;
    *length = more + 1;
    return pieces->classes[c];
}

static inline const uint8_t *run(const Pieces *pieces, const uint8_t *p, const uint8_t *end, int class) {
    int length;
    while (p < end && class_at(pieces, p, end, &length) == class) p += length;
    return p;
}

/* ---- cuts ---- */

/* Return the length of a contraction ('s 't 'm 'd 're 've 'll) at p, or 0. */
static inline int contraction(const uint8_t *p, const uint8_t *end, int any_case) {
    if (*p != '\'' || end - p < 2) return 0;
    uint8_t fold = any_case ? 0x20 : 0;
    uint8_t a = p[1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (end - p < 3) return 0;
    uint8_t b = p[2] | fold;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* Return the end of what \s+(?!\S)|\s+ matches at p: before a word, the last space stays with the word. */
static inline const uint8_t *spaces(const Pieces *pieces, const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p, *last = p;
    int length, class = SPACE;
    while (q < end && (class = class_at(pieces, q, end, &length)) == SPACE) {
        last = q;
        q += length;
    }
    if (q == end || last == p) return q;
    if (pieces->cut == SMOLLM && class == NUMBER) return q; /* digits were cut out before: the text ends here */
    return last;
}

static const uint8_t *gpt2_end(const Pieces *pieces, const uint8_t *p, const uint8_t *end) {
    int length, next_length, class = class_at(pieces, p, end, &length);
    int short_form = contraction(p, end, 0);
    if (short_form) return p + short_form;
    if (class == NUMBER) return pieces->cut == SMOLLM ? p + length : run(pieces, p + length, end, NUMBER);
    if (class == LETTER || class == OTHER) return run(pieces, p + length, end, class);
    if (class == UNKNOWN) return NULL;
    if (*p == ' ' && p + 1 < end) {
        int next = class_at(pieces, p + 1, end, &next_length);
        if (next == UNKNOWN) return NULL;
        if (next == LETTER || next == OTHER || (next == NUMBER && pieces->cut != SMOLLM))
            return run(pieces, p + 1 + next_length, end, next);
    }
    return spaces(pieces, p, end);
}

static const uint8_t *llama_end(const Pieces *pieces, const uint8_t *p, const uint8_t *end) {
    int length, next_length, class = class_at(pieces, p, end, &length);
    int short_form = contraction(p, end, 1);
    if (short_form) return p + short_form;
    if (class == UNKNOWN) return NULL;
    if (class == LETTER) return run(pieces, p + length, end, LETTER);
    const uint8_t *q = p + length;
    int next = q < end ? class_at(pieces, q, end, &next_length) : UNKNOWN;
    if (class != NUMBER && *p != '\r' && *p != '\n' && next == LETTER) return run(pieces, q, end, LETTER);
    if (class == NUMBER) {
        for (int more = pieces->cut == LLAMA ? 2 : 0; more && q < end; more--) {
            if (class_at(pieces, q, end, &length) != NUMBER) break;
            q += length;
        }
        return q;
    }
    if (class == OTHER || (*p == ' ' && q < end && next == OTHER)) {
        q = run(pieces, q, end, OTHER);
        while (q < end && (*q == '\r' || *q == '\n')) q++;
        return q;
    }
    /* White space. \s*[\r\n]+ reaches to the last line end of the run. */
    const uint8_t *stop = run(pieces, p, end, SPACE), *line = stop;
    while (line > p && line[-1] != '\r' && line[-1] != '\n') line--;
    return line > p ? line : spaces(pieces, p, end);
}

/* ---- numbers ---- */

static inline uint64_t hash_of(const uint8_t *p, uint64_t length) {
    uint64_t h = length * 0x9E3779B97F4A7C15ULL, word;
    for (; length >= 8; p += 8, length -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93ULL;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, length);
    h = (h ^ word) * 0xD6E8FEB86659FD93ULL;
    return h ^ h >> 29;
}

static int grow(Pieces *pieces, uint64_t more_bytes) {
    if (pieces->used + more_bytes > pieces->room) {
        uint64_t room = 2 * pieces->room + more_bytes;
        uint8_t *bytes = realloc(pieces->bytes, room);
        if (bytes == NULL) return -1;
        pieces->bytes = bytes, pieces->room = room;
    }
    if (pieces->count + 2 > pieces->starts_room) {
        uint64_t room = 2 * pieces->starts_room;
        uint64_t *starts = realloc(pieces->starts, room * sizeof *starts);
        if (starts == NULL) return -1;
        pieces->starts = starts, pieces->starts_room = room;
    }
    if (2 * (pieces->count + 1) > pieces->mask) {
        uint64_t mask = 2 * pieces->mask + 1;
        Slot *slots = calloc(mask + 1, sizeof *slots);
        if (slots == NULL) return -1;
        for (uint64_t i = 0; i <= pieces->mask; i++) {
            if (!pieces->slots[i].number) continue;
            uint64_t at = pieces->slots[i].hash & mask;
            while (slots[at].number) at = (at + 1) & mask;
            slots[at] = pieces->slots[i];
        }
        free(pieces->slots);
        pieces->slots = slots, pieces->mask = mask;
    }
    return 0;
}

/* Return the number of a piece, counted from 1, a new one if it was never seen; 0 where there is no memory. */
static inline uint32_t number_of(Pieces *pieces, const uint8_t *p, uint64_t length) {
    uint64_t hash = hash_of(p, length), at = hash & pieces->mask;
    for (Slot *slot; (slot = &pieces->slots[at])->number; at = (at + 1) & pieces->mask)
        if (slot->hash == hash && slot->length == length && !memcmp(pieces->bytes + slot->at, p, length))
            return slot->number;
    if (pieces->count >= UINT32_MAX - 1 || grow(pieces, length) < 0) return 0;
    for (at = hash & pieces->mask; pieces->slots[at].number; at = (at + 1) & pieces->mask) {}
    memcpy(pieces->bytes + pieces->used, p, length);
    pieces->slots[at] = (Slot){hash, pieces->used, (uint32_t)length, (uint32_t)++pieces->count};
    pieces->used += length;
    pieces->starts[pieces->count] = pieces->used;
    return (uint32_t)pieces->count;
}

typedef struct {
    uint32_t *values;
    uint64_t count, room;
} Numbers;

static int append(Numbers *numbers, uint32_t value) {
    if (numbers->count == numbers->room) {
        uint64_t room = 2 * numbers->room + 1024;
        uint32_t *values = realloc(numbers->values, room * sizeof *values);
        if (values == NULL) return -1;
        numbers->values = values, numbers->room = room;
    }
    numbers->values[numbers->count++] = value;
    return 0;
}

/* Append the numbers (from 0) of a text's pieces. Return 0, 1 if the text is refused, -1 where there is no memory. */
static int number_text(Pieces *pieces, const uint8_t *p, const uint8_t *end, Numbers *numbers) {
    uint64_t before = numbers->count;
    while (p < end) {
        const uint8_t *q = pieces->cut >= LLAMA ? llama_end(pieces, p, end) : gpt2_end(pieces, p, end);
        if (q == NULL || q - p > LONGEST) {
            numbers->count = before;
            return 1;
        }
        uint32_t number = number_of(pieces, p, (uint64_t)(q - p));
        if (number == 0 || append(numbers, number - 1) < 0) return -1;
        p = q;
    }
    return 0;
}

/* ---- merges ---- */

static inline uint64_t slot_of(const Pieces *pieces, uint64_t pair) {
    uint64_t at = (pair * 0x9E3779B97F4A7C15ULL >> 20) & pieces->merge_mask;
    while (pieces->merges[at].rank && pieces->merges[at].pair != pair) at = (at + 1) & pieces->merge_mask;
    return at;
}

/* Return the rank of the merge of two ids, or NONE where they do not merge. */
static inline uint32_t rank_of(const Pieces *pieces, uint32_t left, uint32_t right) {
    uint32_t rank = pieces->merges[slot_of(pieces, (uint64_t)left << 32 | right)].rank;
    return rank ? rank : NONE;
}

/* Merge the bytes of a piece: again and again the pair of the lowest rank, of equal ones the leftmost. Return how many ids
 * are left in `ids`, 0 if a byte has none. */
static int merge(const Pieces *pieces, const uint8_t *bytes, int length, uint32_t *ids, uint32_t *ranks) {
    for (int i = 0; i < length; i++)
        if ((ids[i] = pieces->of_byte[bytes[i]]) == NONE) return 0;
    for (int i = 0; i + 1 < length; i++) ranks[i] = rank_of(pieces, ids[i], ids[i + 1]);
    while (length > 1) {
        int best = 0;
        for (int i = 1; i + 1 < length; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NONE) break;
        ids[best] = pieces->merges[slot_of(pieces, (uint64_t)ids[best] << 32 | ids[best + 1])].id;
        length--;
        for (int i = best + 1; i < length; i++) ids[i] = ids[i + 1];
        for (int i = best + 1; i + 1 < length; i++) ranks[i] = ranks[i + 1];
        if (best > 0) ranks[best - 1] = rank_of(pieces, ids[best - 1], ids[best]);
        if (best + 1 < length) ranks[best] = rank_of(pieces, ids[best], ids[best + 1]);
    }
    return length;
}

/* ---- Python ---- */

static void release(PyObject *capsule) {
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    if (pieces == NULL) return;
    free(pieces->slots);
    free(pieces->starts);
    free(pieces->bytes);
    free(pieces->merges);
    free(pieces);
}

static PyObject *py_pieces(PyObject *self, PyObject *args) {
    Py_buffer table;
    int cut;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*i", &table, &cut)) return NULL;
    if (table.len != CODE_POINTS || cut < GPT2 || cut > QWEN) {
        PyBuffer_Release(&table);
        PyErr_SetString(PyExc_ValueError, "a table of 0x110000 classes and a known cut are wanted");
        return NULL;
    }
    Pieces *pieces = calloc(1, sizeof *pieces);
    if (pieces != NULL) {
        memcpy(pieces->classes, table.buf, CODE_POINTS);
        pieces->cut = cut, pieces->mask = (1 << 16) - 1, pieces->starts_room = 1 << 16;
        pieces->slots = calloc(pieces->mask + 1, sizeof *pieces->slots);
        pieces->starts = calloc(pieces->starts_room, sizeof *pieces->starts);
    }
    PyBuffer_Release(&table);
    if (pieces == NULL || pieces->slots == NULL || pieces->starts == NULL) {
        if (pieces != NULL) {
            free(pieces->slots);
            free(pieces->starts);
            free(pieces);
        }
        return PyErr_NoMemory();
    }
    return PyCapsule_New(pieces, NAME, release);
}

static PyObject *py_number(PyObject *self, PyObject *args) {
    PyObject *capsule, *result = NULL, *out_numbers = NULL, *out_ends = NULL, *out_refused = NULL;
    Py_buffer text, offsets;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*y*", &capsule, &text, &offsets)) return NULL;
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    const uint8_t *data = text.buf;
    const int64_t *edges = offsets.buf;
    Py_ssize_t texts = offsets.len / 8 - 1;
    Numbers numbers = {NULL, 0, 0};
    int64_t *ends = NULL;
    uint8_t *refused = NULL;
    int failed = 0;
    if (pieces == NULL) goto done;
    for (Py_ssize_t i = 0; i < texts; i++)
        if (edges[i] < 0 || edges[i + 1] < edges[i] || edges[i + 1] > text.len) failed = 1;
    if (texts < 0 || failed) {
        PyErr_SetString(PyExc_ValueError, "offsets lie outside the text");
        goto done;
    }
    ends = malloc((size_t)(texts + 1) * sizeof *ends);
    refused = malloc((size_t)(texts + 1));
    if (ends == NULL || refused == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < texts && !failed; i++) {
        int told = number_text(pieces, data + edges[i], data + edges[i + 1], &numbers);
        failed = told < 0;
        refused[i] = told > 0;
        ends[i] = (int64_t)numbers.count;
    }
    Py_END_ALLOW_THREADS
    if (failed) {
        PyErr_NoMemory();
        goto done;
    }
    out_numbers = PyBytes_FromStringAndSize((char *)numbers.values, (Py_ssize_t)(numbers.count * sizeof(uint32_t)));
    out_ends = PyBytes_FromStringAndSize((char *)ends, texts * (Py_ssize_t)sizeof *ends);
    out_refused = PyBytes_FromStringAndSize((char *)refused, texts);
    if (out_numbers != NULL && out_ends != NULL && out_refused != NULL)
        result = Py_BuildValue("(OOOK)", out_numbers, out_ends, out_refused, (unsigned long long)pieces->used);
done:
    Py_XDECREF(out_numbers);
    Py_XDECREF(out_ends);
    Py_XDECREF(out_refused);
    free(numbers.values);
    free(ends);
    free(refused);
    PyBuffer_Release(&text);
    PyBuffer_Release(&offsets);
    return result;
}

static PyObject *py_spelled(PyObject *self, PyObject *args) {
    PyObject *capsule;
    Py_ssize_t first;
    (void)self;
    if (!PyArg_ParseTuple(args, "On", &capsule, &first)) return NULL;
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    if (pieces == NULL) return NULL;
    PyObject *list = PyList_New(0);
    for (uint64_t i = first < 0 ? 0 : (uint64_t)first; list != NULL && i < pieces->count; i++) {
        uint64_t start = pieces->starts[i];
        PyObject *piece = PyUnicode_DecodeUTF8(
            (char *)pieces->bytes + start, (Py_ssize_t)(pieces->starts[i + 1] - start), "strict");
        if (piece == NULL || PyList_Append(list, piece) < 0) Py_CLEAR(list);
        Py_XDECREF(piece);
    }
    return list;
}

/* Number pieces that are known beforehand, in their order. */
static PyObject *py_know(PyObject *self, PyObject *args) {
    PyObject *capsule;
    Py_buffer bytes, offsets;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*y*", &capsule, &bytes, &offsets)) return NULL;
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    const int64_t *edge = offsets.buf;
    int known = pieces != NULL;
    for (Py_ssize_t i = 0; known && i + 1 < offsets.len / 8; i++) {
        if (edge[i] < 0 || edge[i + 1] <= edge[i] || edge[i + 1] > bytes.len || edge[i + 1] - edge[i] > LONGEST) {
            PyErr_SetString(PyExc_ValueError, "offsets lie outside the text");
            known = 0;
        } else if (number_of(pieces, (uint8_t *)bytes.buf + edge[i], (uint64_t)(edge[i + 1] - edge[i])) != i + 1) {
            PyErr_SetString(PyExc_ValueError, "a piece is known already, or there is no memory");
            known = 0;
        }
    }
    PyBuffer_Release(&bytes);
    PyBuffer_Release(&offsets);
    if (!known) return NULL;
    Py_RETURN_NONE;
}

/* Take the ids of the 256 bytes and the merges in their order: left, right and new id. */
static PyObject *py_teach(PyObject *self, PyObject *args) {
    PyObject *capsule;
    Py_buffer of_byte, rules;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*y*", &capsule, &of_byte, &rules)) return NULL;
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    uint64_t count = (uint64_t)rules.len / 12, room = 1024;
    const uint32_t *rule = rules.buf;
    int known = pieces != NULL;
    if (known && (of_byte.len != 1024 || rules.len % 12 || count >= UINT32_MAX || pieces->merges != NULL)) {
        PyErr_SetString(PyExc_ValueError, "256 ids and triples of ids are wanted, once");
        known = 0;
    }
    while (known && room < 2 * count) room *= 2;
    if (known && (pieces->merges = calloc(room, sizeof *pieces->merges)) == NULL) {
        PyErr_NoMemory();
        known = 0;
    }
    if (known) {
        memcpy(pieces->of_byte, of_byte.buf, 1024);
        pieces->merge_mask = room - 1;
        for (uint64_t i = 0; i < count; i++, rule += 3) {
            uint64_t pair = (uint64_t)rule[0] << 32 | rule[1], at = slot_of(pieces, pair);
            pieces->merges[at] = (Merge){pair, (uint32_t)i + 1, rule[2]}; /* written twice, the later counts */
        }
    }
    PyBuffer_Release(&of_byte);
    PyBuffer_Release(&rules);
    if (!known) return NULL;
    Py_RETURN_NONE;
}

/* Merge the pieces from number `first` on: their ids, and where each piece's end. A piece that is too long, or has a
 * byte without an id, has none. */
static PyObject *py_merged(PyObject *self, PyObject *args) {
    PyObject *capsule, *out = NULL, *out_ends = NULL, *result = NULL;
    Py_ssize_t first;
    Numbers ids = {NULL, 0, 0};
    uint32_t some[LONGEST_MERGED], ranks[LONGEST_MERGED];
    int failed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "On", &capsule, &first)) return NULL;
    Pieces *pieces = PyCapsule_GetPointer(capsule, NAME);
    if (pieces == NULL) return NULL;
    if (pieces->merges == NULL || first < 0 || (uint64_t)first > pieces->count) {
        PyErr_SetString(PyExc_ValueError, "no merges were taught, or there is no such piece");
        return NULL;
    }
    Py_ssize_t count = (Py_ssize_t)pieces->count - first;
    out_ends = PyBytes_FromStringAndSize(NULL, count * 8);
    if (out_ends == NULL) return NULL;
    int64_t *ends = (int64_t *)PyBytes_AsString(out_ends);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        const uint64_t *edge = pieces->starts + first + i;
        uint64_t length = edge[1] - edge[0];
        int left = length > LONGEST_MERGED ? 0 : merge(pieces, pieces->bytes + edge[0], (int)length, some, ranks);
        for (int k = 0; k < left && !failed; k++) failed = append(&ids, some[k]) < 0;
        ends[i] = (int64_t)ids.count;
    }
    Py_END_ALLOW_THREADS
    if (failed)
        PyErr_NoMemory();
    else
        out = PyBytes_FromStringAndSize((char *)ids.values, (Py_ssize_t)(ids.count * sizeof(uint32_t)));
    if (out != NULL) result = PyTuple_Pack(2, out, out_ends);
    Py_XDECREF(out);
    Py_XDECREF(out_ends);
    free(ids.values);
    return result;
}

/* From piece numbers, where each piece's ids start and all those ids, make the ids of the texts and where they end. */
static PyObject *py_expand(PyObject *self, PyObject *args) {
    Py_buffer numbers, ends, starts, ids;
    PyObject *out = NULL, *out_ends = NULL, *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*y*", &numbers, &ends, &starts, &ids)) return NULL;
    const uint32_t *number = numbers.buf, *id = ids.buf;
    const int64_t *end = ends.buf, *start = starts.buf;
    Py_ssize_t count = numbers.len / 4, texts = ends.len / 8, known = starts.len / 8 - 1;
    int64_t total = 0, at = 0;
    int broken = known < 0 || (known > 0 && start[known] > ids.len / 4) || (texts && end[texts - 1] != count);
    for (Py_ssize_t i = 0; i < known && !broken; i++) broken = start[i] < 0 || start[i + 1] < start[i];
    for (Py_ssize_t i = 0; i < count && !broken; i++) {
        broken = number[i] >= known;
        if (!broken) total += start[number[i] + 1] - start[number[i]];
    }
    for (Py_ssize_t i = 0; i < texts && !broken; i++) broken = end[i] < (i ? end[i - 1] : 0);
    if (broken) {
        PyErr_SetString(PyExc_ValueError, "numbers without ids");
        goto done;
    }
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total * 4);
    out_ends = PyBytes_FromStringAndSize(NULL, texts * 8);
    if (out == NULL || out_ends == NULL) goto done;
    uint32_t *to = (uint32_t *)PyBytes_AsString(out);
    int64_t *to_ends = (int64_t *)PyBytes_AsString(out_ends);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t text = 0, i = 0; text < texts; text++) {
        for (; i < end[text]; i++)
            for (int64_t k = start[number[i]]; k < start[number[i] + 1]; k++) to[at++] = id[k];
        to_ends[text] = at;
    }
    Py_END_ALLOW_THREADS
    result = PyTuple_Pack(2, out, out_ends);
done:
    Py_XDECREF(out);
    Py_XDECREF(out_ends);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&ids);
    return result;
}

static PyMethodDef methods[] = {
    {"pieces", py_pieces, METH_VARARGS, "pieces(classes, cut): an empty store of pieces."},
    {"number", py_number, METH_VARARGS, "number(pieces, text, offsets): numbers, where each text's end, who is refused, bytes held."},
    {"know", py_know, METH_VARARGS, "know(pieces, bytes, offsets): number pieces beforehand."},
    {"teach", py_teach, METH_VARARGS, "teach(pieces, of_byte, merges): how bytes merge."},
    {"merged", py_merged, METH_VARARGS, "merged(pieces, first): ids of the pieces from `first` on, where each one's end."},
    {"spelled", py_spelled, METH_VARARGS, "spelled(pieces, first): the pieces from number `first` on, as text."},
    {"expand", py_expand, METH_VARARGS, "expand(numbers, ends, starts, ids): ids, and where each text's end."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_pretokens", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__pretokens(void) { return PyModule_Create(&module); }
