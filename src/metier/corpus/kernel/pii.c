/* Personal and secret data in texts, compiled: metier.corpus.anonymise.structured is the definition, byte for byte.

   A text is read 64 bytes at a time into masks, one bit a byte: digits, capitals, small letters, first bytes of other
   scripts, and four signs. Bit arithmetic on the masks leaves the few places where something can be; each is looked at
   closely by the functions of the headers. What the masks let through is a superset of what those accept. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#include "pii_assigned.h"
#include "pii_network.h"
#include "pii_numbers.h"
#include "pii_text.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- masks ---- */

typedef struct {
    uint64_t digit, upper, lower, lead, at_sign, colon, hyphen, dot;
} masks_t;

#define BLOCKS 64 /* of one round: their masks and those of the block after them stay in the first-level cache */

typedef void classify_t(const uint8_t *data, int64_t blocks, masks_t *masks);

static void classify_portable(const uint8_t *data, int64_t blocks, masks_t *masks) {
    for (int64_t block = 0; block < blocks; block++, data += 64) {
        masks_t found = {0};
        for (int bit = 0; bit < 64; bit++) {
            uint64_t byte = data[bit];
            found.digit |= (uint64_t)(byte - '0' < 10) << bit;
            found.upper |= (uint64_t)(byte - 'A' < 26) << bit;
            found.lower |= (uint64_t)(byte - 'a' < 26) << bit;
            found.lead |= (uint64_t)(byte >= 0xC0) << bit;
            found.at_sign |= (uint64_t)(byte == '@') << bit;
            found.colon |= (uint64_t)(byte == ':') << bit;
            found.hyphen |= (uint64_t)(byte == '-') << bit;
            found.dot |= (uint64_t)(byte == '.') << bit;
        }
        masks[block] = found;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t bits_avx2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

__attribute__((target("avx2"))) static __m256i within_avx2(__m256i bytes, char first, char range) {
    __m256i offset = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(offset, _mm256_set1_epi8(range)), offset);
}

__attribute__((target("avx2"))) static void classify_avx2(const uint8_t *data, int64_t blocks, masks_t *masks) {
    for (int64_t block = 0; block < blocks; block++, data += 64) {
        __m256i low = _mm256_loadu_si256((const __m256i *)data), high = _mm256_loadu_si256((const __m256i *)(data + 32));
#define WITHIN(first, range) bits_avx2(within_avx2(low, first, range), within_avx2(high, first, range))
        masks[block] = (masks_t){
            .digit = WITHIN('0', 9), .upper = WITHIN('A', 25), .lower = WITHIN('a', 25), .lead = WITHIN((char)0xC0, 63),
            .at_sign = WITHIN('@', 0), .colon = WITHIN(':', 0), .hyphen = WITHIN('-', 0), .dot = WITHIN('.', 0),
        };
#undef WITHIN
    }
}

__attribute__((target("avx512f,avx512bw"))) static uint64_t within_avx512(__m512i bytes, char first, char range) {
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8(first)), _mm512_set1_epi8(range));
}

__attribute__((target("avx512f,avx512bw"))) static void classify_avx512(const uint8_t *data, int64_t blocks,
                                                                          masks_t *masks) {
    for (int64_t block = 0; block < blocks; block++, data += 64) {
        __m512i bytes = _mm512_loadu_si512(data);
        masks[block] = (masks_t){
            .digit = within_avx512(bytes, '0', 9), .upper = within_avx512(bytes, 'A', 25),
            .lower = within_avx512(bytes, 'a', 25), .lead = within_avx512(bytes, (char)0xC0, 63),
            .at_sign = within_avx512(bytes, '@', 0), .colon = within_avx512(bytes, ':', 0),
            .hyphen = within_avx512(bytes, '-', 0), .dot = within_avx512(bytes, '.', 0),
        };
    }
}
#endif

static classify_t *classify = classify_portable;

static const char *choose_classify(int most) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (most >= 2 && __builtin_cpu_supports("avx512bw")) {
        classify = classify_avx512;
        return "avx512";
    }
    if (most >= 1 && __builtin_cpu_supports("avx2")) {
        classify = classify_avx2;
        return "avx2";
    }
#endif
    (void)most;
    classify = classify_portable;
    return "portable";
}

/* ---- one text ---- */

/* The 64 bits that begin at bit `by` of `here`, going on in `next`. */
static inline uint64_t later(uint64_t here, uint64_t next, int by) { return by ? here >> by | next << (64 - by) : here; }

static inline uint64_t earlier(uint64_t here, uint64_t before) { return here << 1 | before >> 63; }

static void find_words(scan_t *scan, const literals_t *literals, int64_t place) {
    const text_t *text = &scan->text;
    uint32_t slot = slot_of(text->data + place);
    if (!(literals->bits[slot >> 6] >> (slot & 63) & 1)) return;
    for (uint32_t word = literals->starts[slot]; word < literals->starts[slot + 1]; word++) {
        const literal_t *literal = &literals->words[word];
        if (literal->size <= text->size - place &&
            memcmp(text->data + place, literals->bytes + literal->text, literal->size) == 0)
            after_literal(scan, place, literal);
    }
}

/* Whether a word of a list stands at `place`, exactly; with `before`, ends there. `size` is then its size. */
static int word_stands(const text_t *text, int64_t place, const lists_t *lists, int list, int before, int *size) {
    for (int number = 0; number < lists->counts[list]; number++) {
        const word_t *word = &lists->words[list][number];
        *size = word->size;
        if (equals(text, before ? place - word->size : place, (const char *)word->text, word->size)) return 1;
    }
    return 0;
}

/* houses.py. */
static void find_house_number(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    int64_t end = place;
    int before = at(text, place - 1), size, found;
    while (end - place < 6 && is_digit(text, end)) end++;
    if (end - place > 5) return;
    found = before == ' ' && word_stands(text, place - 1, scan->lists, STREET_ENDINGS, 1, &size);
    if (!found && before >= 0x80)
        found = word_stands(text, place, scan->lists, CHINESE_STREETS, 1, &size) &&
                word_stands(text, end, scan->lists, CHINESE_HOUSES, 0, &size);
    if (!found && end - place == 5 && at(text, end) == ' ' && (before == ' ' || before == '\n')) {
        int town = at(text, end + 1);
        if (!(byte_class[town] & C_UPPER) && town < 0xC3) return;
        found = 1;
    }
    if (!found) {
        int64_t word = end;
        if (equals(text, word, " bis", 4) || equals(text, word, " ter", 4)) word += 4;
        word += at(text, word) == ',';
        if (at(text, word++) != ' ') return;
        for (int number = 0; number < scan->lists->counts[FRENCH_STREETS] && !found; number++) {
            const word_t *street = &scan->lists->words[FRENCH_STREETS][number];
            found = equals(text, word, (const char *)street->text, street->size) && at(text, word + street->size) == ' ';
        }
    }
    if (found) rows_add(scan->reports, scan->number, place, end, CUE_HOUSE);
}

static void look_at(scan_t *scan, const literals_t *literals, int64_t base, const masks_t *before, const masks_t *here,
                    const masks_t *next) {
#define EACH(bits) for (uint64_t rest = (bits); rest; rest &= rest - 1)
#define BIT __builtin_ctzll(rest)
    EACH(here->at_sign) find_at_sign(scan, base + BIT);

    uint64_t digits = here->digit & ~earlier(here->digit, before->digit);
    if (digits) {
        uint64_t dots = here->dot & earlier(here->digit, before->digit) & later(here->digit, next->digit, 1);
        uint64_t next_dots = next->dot & earlier(next->digit, here->digit);
        EACH(digits) {
            int bit = BIT;
            if (scan->codes >> ADDRESS & 1) find_house_number(scan, base + bit);
            if (__builtin_popcountll(later(here->digit, next->digit, bit) & 0xFFFFFF) >= FEWEST_DIGITS)
                find_number(scan, base + bit);
            if (__builtin_popcountll(later(dots, next_dots, bit) & 0xFFFF) >= 3) find_ipv4(scan, base + bit);
        }
    }

    if (here->colon) {
        uint64_t colon = here->colon, then = next->colon;
        uint64_t doubled = colon & later(colon, then, 1);
        uint64_t pairs = colon & later(colon, then, 3) & later(colon, then, 6) & later(colon, then, 9) &
                         later(colon, then, 12);
        uint64_t many = __builtin_popcountll(colon) + __builtin_popcountll(then) >= 6 ? colon : 0;
        int64_t seen = -1;
        EACH(doubled | pairs | many) {
            int bit = BIT;
            if (base + bit < seen) continue;
            if (!((doubled | pairs) >> bit & 1) && __builtin_popcountll(later(colon, then, bit) & 0x1FFFFFFFF) < 6) continue;
            seen = find_colons(scan, base + bit);
        }
    }

    uint64_t hyphens = here->hyphen & ~later(here->hyphen, next->hyphen, 1);
    for (int by = 3; by <= 12; by += 3) hyphens &= later(here->hyphen, next->hyphen, by);
    EACH(hyphens) find_mac(scan, base + BIT - 2, '-', 2, 6);
    uint64_t dotted = here->dot & ~later(here->dot, next->dot, 1) & later(here->dot, next->dot, 5);
    EACH(dotted) find_mac(scan, base + BIT - 4, '.', 4, 3);

    uint64_t letter = here->upper | here->lower;
    uint64_t begins_here = letter & ~earlier(letter, before->upper | before->lower);
    begins_here |= here->upper & earlier(here->lower, before->lower);
    begins_here |= digits | here->lead;
    int64_t last = scan->text.size - SHORTEST_LITERAL;
    EACH(begins_here) {
        int64_t place = base + BIT;
        if (place <= last) find_words(scan, literals, place);
    }
#undef EACH
#undef BIT
}

static void scan_text(scan_t *scan, const literals_t *literals) {
    masks_t masks[BLOCKS + 2]; /* of the block before, of this round's, of the one after */
    const text_t *text = &scan->text;
    memset(&masks[0], 0, sizeof(masks_t));
    for (int64_t base = 0; base < text->size; base += BLOCKS * 64) {
        int64_t left = text->size - base, whole = left / 64;
        int64_t blocks = whole < BLOCKS + 1 ? whole : BLOCKS + 1;
        classify(text->data + base, blocks, masks + 1);
        if (blocks < BLOCKS + 1) {
            uint8_t tail[128];
            memset(tail, '\n', sizeof(tail));
            memcpy(tail, text->data + base + blocks * 64, (size_t)(left - blocks * 64));
            classify(tail, blocks < BLOCKS ? 2 : 1, masks + 1 + blocks);
            blocks++;
        }
        int64_t ours = blocks < BLOCKS ? blocks : BLOCKS;
        for (int64_t block = 0; block < ours; block++)
            look_at(scan, literals, base + block * 64, &masks[block], &masks[block + 1], &masks[block + 2]);
        masks[0] = masks[BLOCKS];
    }
}

static int by_place(const void *one, const void *other) {
    const int64_t *a = one, *b = other;
    if (a[0] != b[0]) return a[0] < b[0] ? -1 : 1;
    if (a[1] != b[1]) return a[1] > b[1] ? -1 : 1;
    if (rank_of[a[2]] != rank_of[b[2]]) return rank_of[a[2]] > rank_of[b[2]] ? -1 : 1;
    return a[2] < b[2] ? -1 : a[2] > b[2];
}

/* Write the candidates that stay to `spans`: text, start, end, code. kinds.py says which. */
static void without_overlaps(scan_t *scan, rows_t *spans) {
    int64_t count = scan->found.count / 4, kept = 0, (*rows)[4] = (int64_t(*)[4])scan->found.items;
    if (count > 1) qsort(rows, (size_t)count, sizeof(*rows), by_place);
    for (int64_t row = 0; row < count; row++) {
        if (kept && rows[row][0] < rows[kept - 1][1]) {
            int64_t *last = rows[kept - 1];
            int rank = rank_of[rows[row][2]], other = rank_of[last[2]];
            if (rank > other || (rank == other && rows[row][1] - rows[row][0] > last[1] - last[0]))
                memcpy(last, rows[row], sizeof(*rows));
        } else
            memcpy(rows[kept++], rows[row], sizeof(*rows));
    }
    for (int64_t row = 0; row < kept; row++) rows_add(spans, scan->number, rows[row][0], rows[row][1], rows[row][2]);
    scan->found.count = 0;
}

/* ---- Python ---- */

static PyObject *scan_texts(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *offsets, *data, *result = NULL;
    Py_buffer table, words;
    unsigned long long codes;
    if (!PyArg_ParseTuple(args, "OOy*y*K", &offsets, &data, &table, &words, &codes)) return NULL;
    metier_texts texts;
    literals_t literals;
    lists_t lists = {.all = NULL};
    rows_t spans = {0}, reports = {0};
    scan_t scan = {.lists = &lists, .codes = codes, .reports = &reports};
    if (metier_texts_open(&texts, offsets, data) < 0) goto release;
    if (literals_open(&literals, table.buf, table.len) < 0 || lists_read(&lists, words.buf, words.len) < 0) {
        PyErr_SetString(PyExc_ValueError, "the tables of words are damaged");
        goto close;
    }
    int failed = 0;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t text = 0; text < texts.count && !failed; text++) {
        scan.text = (text_t){texts.data + texts.offsets[text], texts.offsets[text + 1] - texts.offsets[text]};
        scan.number = text;
        scan_text(&scan, &literals);
        without_overlaps(&scan, &spans);
        failed = scan.found.failed || spans.failed || reports.failed;
    }
    Py_END_ALLOW_THREADS;
    if (failed) {
        PyErr_NoMemory();
        goto close;
    }
    result = Py_BuildValue("(y#y#)", spans.items ? (char *)spans.items : "", (Py_ssize_t)(spans.count * 8),
                           reports.items ? (char *)reports.items : "", (Py_ssize_t)(reports.count * 8));
close:
    metier_texts_close(&texts);
release:
    free(spans.items);
    free(reports.items);
    free(scan.found.items);
    free(lists.all);
    PyBuffer_Release(&table);
    PyBuffer_Release(&words);
    return result;
}

static PyObject *slot(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text;
    if (!PyArg_ParseTuple(args, "y*", &text)) return NULL;
    PyObject *result = NULL;
    if (text.len < SHORTEST_LITERAL)
        PyErr_SetString(PyExc_ValueError, "a word to look for is too short");
    else
        result = PyLong_FromUnsignedLong(slot_of(text.buf));
    PyBuffer_Release(&text);
    return result;
}

static PyObject *use_vectors(PyObject *self, PyObject *args) {
    (void)self;
    int most;
    if (!PyArg_ParseTuple(args, "i", &most)) return NULL;
    return PyUnicode_FromString(choose_classify(most));
}

static PyMethodDef methods[] = {
    {"scan", scan_texts, METH_VARARGS, "scan(offsets, data, table, words, codes) -> (spans, reports), rows of 4 int64"},
    {"slot", slot, METH_VARARGS, "slot(word) -> the slot of a table that a word's first three bytes lead to"},
    {"use_vectors", use_vectors, METH_VARARGS, "use_vectors(most) -> what is used: 0 portable, 1 AVX2, 2 AVX-512"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_pii", .m_doc = "Finds personal and secret data.", .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__pii(void) {
    fill_classes();
    choose_classify(2);
    return PyModule_Create(&module);
}
