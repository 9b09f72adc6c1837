/* The compiled half of shingle.py, which says what each function returns and gives the same without a compiler. */
#include "shingle_text.h"

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
