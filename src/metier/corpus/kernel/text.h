/* What the kernels share: UTF-8, character classes, lower case, and columns of texts from Python.

   Classes and lower case are those of unicode.py, from the same committed ranges:

     METIER_WORD   letters, marks and numbers (L*, M*, N*); the underscore is not one
     METIER_CJK    Han, Hiragana, Katakana of WORD: each character is a token of its own
     METIER_SPACE  what Python's str.isspace says
     METIER_PUNCT  punctuation and symbols (P*, S*), U+FFFD among them
     METIER_DIGIT  decimal digits (Nd)
     METIER_UPPER  upper and title case (Lu, Lt)

   Every function here is total: no input makes it read outside [at, end). */
#ifndef METIER_TEXT_H
#define METIER_TEXT_H

#include <Python.h>
#include <stdint.h>

#include "unicode_tables.h"

#define METIER_REPLACEMENT 0xFFFDu

/* Decode the character at `at` (which must be below `end`) into `*code` and return its length in bytes, 1 to 4.

   What is not UTF-8 is U+FFFD, one for each longest beginning of a well-formed sequence (Unicode 15, table 3-8), which
   is what bytes.decode("utf-8", "replace") does. Surrogates and overlong forms are not UTF-8. */
static inline int metier_decode(const uint8_t *at, const uint8_t *end, uint32_t *code) {
    uint32_t lead = at[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    Py_ssize_t left = end - at;
    *code = METIER_REPLACEMENT;
    if (lead < 0xC2 || lead > 0xF4 || left < 2) return 1;
    uint32_t second = at[1];
    if (lead < 0xE0) {
        if ((second & 0xC0) != 0x80) return 1;
        *code = (lead & 0x1F) << 6 | (second & 0x3F);
        return 2;
    }
    /* The second byte's range depends on the lead: no overlong forms, no surrogates, nothing above U+10FFFF. */
    uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) return 1;
    if (left < 3 || (at[2] & 0xC0) != 0x80) return 2;
    if (lead < 0xF0) {
        *code = (lead & 0x0F) << 12 | (second & 0x3F) << 6 | (at[2] & 0x3Fu);
        return 3;
    }
    if (left < 4 || (at[3] & 0xC0) != 0x80) return 3;
    *code = (lead & 0x07) << 18 | (second & 0x3F) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
    return 4;
}

/* Write `code` (at most 0x10FFFF) as UTF-8 into `out`, which has room for 4 bytes, and return how many it took. */
static inline int metier_encode(uint32_t code, uint8_t *out) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

/* Return which record of the tables is a code point's; it must be at most 0x10FFFF. */
static inline uint32_t metier_record(uint32_t code) {
    uint32_t block = metier_block_of[code >> METIER_BLOCK_BITS];
    return metier_record_of[block << METIER_BLOCK_BITS | (code & ((1u << METIER_BLOCK_BITS) - 1))];
}

/* Return the METIER_ flags of a code point, 0 above 0x10FFFF. */
static inline uint32_t metier_class(uint32_t code) {
    return code < 0x110000 ? metier_record_flags[metier_record(code)] : 0;
}

/* Return the simple lower case of a code point: one code point, whatever stands beside it. */
static inline uint32_t metier_lower(uint32_t code) {
    return code < 0x110000 ? code + (uint32_t)metier_record_lower[metier_record(code)] : code;
}

/* A column of texts from Python: `texts()` of metier.corpus.kernel makes the two buffers. */
typedef struct {
    Py_buffer offsets_buffer, data_buffer;
    const int64_t *offsets; /* count + 1 */
    const uint8_t *data;
    Py_ssize_t count;
} metier_texts;

static inline void metier_texts_close(metier_texts *texts) {
    PyBuffer_Release(&texts->offsets_buffer);
    PyBuffer_Release(&texts->data_buffer);
}

/* Whether text `at` lies within the data. */
static inline int metier_text_right(const metier_texts *texts, Py_ssize_t at) {
    return texts->offsets[at] >= 0 && texts->offsets[at] <= texts->offsets[at + 1] &&
           texts->offsets[at + 1] <= texts->data_buffer.len;
}

static inline int metier_texts_wrong(metier_texts *texts) {
    metier_texts_close(texts);
    PyErr_SetString(PyExc_ValueError, "offsets must be int64, ascending and within the data");
    return -1;
}

/* Take hold of a column of which few texts are wanted: check each of them with metier_text_right. Returns 0, or -1 with
   a Python error set. */
static inline int metier_texts_hold(metier_texts *texts, PyObject *offsets, PyObject *data) {
    if (PyObject_GetBuffer(offsets, &texts->offsets_buffer, PyBUF_SIMPLE) < 0) return -1;
    if (PyObject_GetBuffer(data, &texts->data_buffer, PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&texts->offsets_buffer);
        return -1;
    }
    texts->offsets = texts->offsets_buffer.buf;
    texts->data = texts->data_buffer.buf;
    texts->count = texts->offsets_buffer.len / (Py_ssize_t)sizeof(int64_t) - 1;
    int right = texts->offsets_buffer.len % (Py_ssize_t)sizeof(int64_t) == 0 && texts->count >= 0 &&
                (uintptr_t)texts->offsets % sizeof(int64_t) == 0;
    return right ? 0 : metier_texts_wrong(texts);
}

/* Take hold of a column and check all of it, so that the kernel needs no checks. Returns 0, or -1 with a Python error. */
static inline int metier_texts_open(metier_texts *texts, PyObject *offsets, PyObject *data) {
    if (metier_texts_hold(texts, offsets, data) < 0) return -1;
    int right = 1;
    for (Py_ssize_t at = 0; at < texts->count; at++) right &= metier_text_right(texts, at);
    return right ? 0 : metier_texts_wrong(texts);
}

#endif
