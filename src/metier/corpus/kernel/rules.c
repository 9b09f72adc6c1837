/* The counts that the filter's rules decide by: the compiled twins of rules_prose.py, rules_house.py and
   rules_forms.py.

   Texts come as the buffers of an Arrow string column, counts go into an array of the caller's. */
#include <Python.h>

#include "rules_forms.h"
#include "rules_house.h"

/* An array of int64 that Python lends: `count` of them. */
typedef struct {
    Py_buffer buffer;
    int64_t *items;
} numbers;

static int numbers_open(numbers *taken, PyObject *given, Py_ssize_t count, int writable) {
    if (PyObject_GetBuffer(given, &taken->buffer, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return -1;
    taken->items = taken->buffer.buf;
    if (taken->buffer.len == count * (Py_ssize_t)sizeof(int64_t) && (uintptr_t)taken->items % sizeof(int64_t) == 0)
        return 0;
    PyBuffer_Release(&taken->buffer);
    PyErr_Format(PyExc_ValueError, "%zd int64 numbers are wanted, not %zd bytes", count, taken->buffer.len);
    return -1;
}

static int read_rules(line_rules *rules, PyObject *given) {
    numbers taken;
    if (numbers_open(&taken, given, sizeof(*rules) / sizeof(int64_t), 0) < 0) return -1;
    memcpy(rules, taken.items, sizeof(*rules));
    PyBuffer_Release(&taken.buffer);
    return 0;
}

static span text_of(const metier_texts *texts, Py_ssize_t at) {
    return (span){texts->data + texts->offsets[at], texts->data + texts->offsets[at + 1]};
}

/* Learn the stop words: word i is in the lists whose bit is set in lists[i]. */
static int read_stop_words(stop_words *stops, const metier_texts *words, const int64_t *lists, size_t list_count) {
    stops->list_count = list_count;
    stops->count = (size_t)words->count;
    stops->lists = malloc((stops->count + 1) * sizeof(*stops->lists));
    stops->seen = calloc(stops->count + 1, sizeof(*stops->seen));
    if (!stops->lists || !stops->seen || !strings_reset(&stops->words, 0)) return 0;
    for (Py_ssize_t at = 0; at < words->count; at++) {
        uint32_t number;
        span word = text_of(words, at);
        int is_new = string_number(&stops->words, word, &number);
        if ((size_t)(word.to - word.from) > stops->longest) stops->longest = (size_t)(word.to - word.from);
        if (is_new < 0) return 0;
        stops->lists[number] = (is_new ? 0 : stops->lists[number]) | (uint64_t)lists[at];
    }
    return 1;
}

static PyObject *measure(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *offsets, *data, *given_rules, *stop_offsets, *stop_data, *stop_lists, *given_out;
    Py_ssize_t list_count;
    if (!PyArg_ParseTuple(arguments, "OOOOOOnO", &offsets, &data, &given_rules, &stop_offsets, &stop_data, &stop_lists,
                          &list_count, &given_out))
        return NULL;
    prose_work work;
    memset(&work, 0, sizeof(work));
    metier_texts texts, words;
    numbers lists, out;
    int done = 0;
    if (list_count < 0 || list_count > 64) return PyErr_Format(PyExc_ValueError, "at most 64 lists of stop words");
    if (read_rules(&work.rules, given_rules) < 0) return NULL;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    if (metier_texts_open(&words, stop_offsets, stop_data) < 0) goto no_words;
    for (Py_ssize_t at = 0; at < words.count; at++)
        if (words.offsets[at + 1] - words.offsets[at] > LONGEST_STOP_WORD) {
            PyErr_Format(PyExc_ValueError, "a stop word of more than %d bytes", LONGEST_STOP_WORD);
            goto no_lists;
        }
    if (numbers_open(&lists, stop_lists, words.count, 0) < 0) goto no_lists;
    Py_ssize_t width = MEASURE_COUNT + list_count;
    if (numbers_open(&out, given_out, texts.count * width, 1) < 0) goto no_out;
    Py_BEGIN_ALLOW_THREADS;
    done = read_stop_words(&work.stops, &words, lists.items, (size_t)list_count);
    for (Py_ssize_t at = 0; done && at < texts.count; at++)
        done = measure_text(&work, text_of(&texts, at), out.items + at * width);
    prose_free(&work);
    Py_END_ALLOW_THREADS;
    if (!done) PyErr_NoMemory();
    PyBuffer_Release(&out.buffer);
no_out:
    PyBuffer_Release(&lists.buffer);
no_lists:
    metier_texts_close(&words);
no_words:
    metier_texts_close(&texts);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *clean(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *offsets, *data, *given_rules, *given_out, *given_verdicts;
    if (!PyArg_ParseTuple(arguments, "OOOOO", &offsets, &data, &given_rules, &given_out, &given_verdicts)) return NULL;
    prose_work work;
    memset(&work, 0, sizeof(work));
    metier_texts texts;
    numbers out, verdicts;
    buffer kept = {NULL, 0, 0};
    PyObject *made = NULL;
    if (read_rules(&work.rules, given_rules) < 0) return NULL;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    if (numbers_open(&out, given_out, texts.count + 1, 1) < 0) goto no_out;
    if (numbers_open(&verdicts, given_verdicts, texts.count * C4_COUNT, 1) == 0) {
        int done = 1;
        Py_BEGIN_ALLOW_THREADS;
        out.items[0] = 0;
        for (Py_ssize_t at = 0; done && at < texts.count; at++) {
            done = clean_text(&work, text_of(&texts, at), &kept, verdicts.items + at * C4_COUNT);
            out.items[at + 1] = (int64_t)kept.size;
        }
        prose_free(&work);
        Py_END_ALLOW_THREADS;
        made = done ? PyBytes_FromStringAndSize((const char *)kept.data, (Py_ssize_t)kept.size) : PyErr_NoMemory();
        free(kept.data);
        PyBuffer_Release(&verdicts.buffer);
    }
    PyBuffer_Release(&out.buffer);
no_out:
    metier_texts_close(&texts);
    return made;
}

static PyObject *shape(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *offsets, *data, *given_out;
    if (!PyArg_ParseTuple(arguments, "OOO", &offsets, &data, &given_out)) return NULL;
    metier_texts texts;
    numbers out;
    buffer mended = {NULL, 0, 0};
    int done = 0;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    if (numbers_open(&out, given_out, texts.count * SHAPE_COUNT, 1) == 0) {
        done = 1;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t at = 0; done && at < texts.count; at++)
            done = shape_text(text_of(&texts, at), &mended, out.items + at * SHAPE_COUNT);
        free(mended.data);
        Py_END_ALLOW_THREADS;
        if (!done) PyErr_NoMemory();
        PyBuffer_Release(&out.buffer);
    }
    metier_texts_close(&texts);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* learn(offsets, data, groups, counts) and known(offsets, data, groups, counts, at_least, out); a group below 0 is
   passed over. */
static PyObject *forms(PyObject *arguments, int learning) {
    PyObject *offsets, *data, *given_groups, *given_counts, *given_out = NULL;
    long long at_least = 0;
    if (!PyArg_ParseTuple(arguments, learning ? "OOOO" : "OOOOLO", &offsets, &data, &given_groups, &given_counts,
                          &at_least, &given_out))
        return NULL;
    metier_texts texts;
    numbers groups, out;
    Py_buffer counts;
    buffer mended = {NULL, 0, 0};
    uint32_t *last = NULL;
    int done = 0;
    if (metier_texts_open(&texts, offsets, data) < 0) return NULL;
    if (numbers_open(&groups, given_groups, texts.count, 0) < 0) goto no_groups;
    if (PyObject_GetBuffer(given_counts, &counts, learning ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) goto no_counts;
    if (counts.len != 1 << TABLE_BITS) {
        PyErr_Format(PyExc_ValueError, "a table of %d bytes is wanted, not of %zd", 1 << TABLE_BITS, counts.len);
        goto no_out;
    }
    if (!learning && numbers_open(&out, given_out, 2 * texts.count, 1) < 0) goto no_out;
    Py_BEGIN_ALLOW_THREADS;
    done = !learning || (last = calloc(1 << TABLE_BITS, sizeof(*last))) != NULL;
    for (Py_ssize_t at = 0; done && at < texts.count; at++) {
        if (groups.items[at] < 0) continue;
        span text = text_of(&texts, at);
        done = learning ? learn_forms(text, groups.items[at], counts.buf, last, (uint32_t)at + 1, &mended)
                        : known_forms(text, groups.items[at], counts.buf, at_least, out.items + 2 * at, &mended);
    }
    free(last);
    free(mended.data);
    Py_END_ALLOW_THREADS;
    if (!done) PyErr_NoMemory();
    if (!learning) PyBuffer_Release(&out.buffer);
no_out:
    PyBuffer_Release(&counts);
no_counts:
    PyBuffer_Release(&groups.buffer);
no_groups:
    metier_texts_close(&texts);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *learn(PyObject *self, PyObject *arguments) {
    (void)self;
    return forms(arguments, 1);
}

static PyObject *known(PyObject *self, PyObject *arguments) {
    (void)self;
    return forms(arguments, 0);
}

static PyMethodDef methods[] = {
    {"measure", measure, METH_VARARGS, "Fill an array with the measures of each text."},
    {"clean", clean, METH_VARARGS, "Return the texts without the lines that C4 takes out, and fill in their offsets."},
    {"shape", shape, METH_VARARGS, "Fill an array with the shape of each text: what the house rules count."},
    {"learn", learn, METH_VARARGS, "Count in a table the documents that each word form stands in."},
    {"known", known, METH_VARARGS, "Fill an array with the word forms of each text and how many of them are known."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_rules", "What the filter's rules count.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rules(void) {
    rules_text_init();
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddStringConstant(made, "MEASURES", measure_names) < 0 ||
                 PyModule_AddStringConstant(made, "SHAPE", shape_names) < 0)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
