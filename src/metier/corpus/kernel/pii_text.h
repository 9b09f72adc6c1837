/* What the parts of the PII scanner share: bytes beyond the ends of a text, classes of bytes, lists of words, spans.

   The definition of every rule is the Python of metier.corpus.anonymise; functions here have the names they have there. */
#ifndef METIER_PII_TEXT_H
#define METIER_PII_TEXT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

typedef struct {
    const uint8_t *data;
    int64_t size;
} text_t;

/* Classes of bytes. */
enum {
    C_DIGIT = 1, C_UPPER = 2, C_LOWER = 4, C_UNDERSCORE = 8, C_HEX = 16, C_LOCAL = 32, C_USERINFO = 64, C_STOP = 128,
    C_LETTER = C_UPPER | C_LOWER,
    C_ALNUM = C_LETTER | C_DIGIT,
    C_IDENTIFIER = C_ALNUM | C_UNDERSCORE
};
static uint8_t byte_class[256];
/* Bit k says that a byte belongs to character set k of literals.py. */
static uint8_t charset_bits[256];

static void fill_classes(void) {
    for (int byte = 0; byte < 256; byte++) {
        int digit = byte >= '0' && byte <= '9', upper = byte >= 'A' && byte <= 'Z', lower = byte >= 'a' && byte <= 'z';
        int alnum = digit || upper || lower;
        int hex = digit || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
        int class = (digit ? C_DIGIT : 0) | (upper ? C_UPPER : 0) | (lower ? C_LOWER : 0);
        class |= (byte == '_' ? C_UNDERSCORE : 0) | (hex ? C_HEX : 0);
        if (alnum || (byte && strchr("._%+-'", byte))) class |= C_LOCAL;
        if (byte > 0x20 && byte < 0x7F && !strchr("/?#<>\"@`", byte)) class |= C_USERINFO;
        if (byte <= 0x20 || byte >= 0x7F || strchr("\"'`,;<>|\\", byte)) class |= C_STOP;
        byte_class[byte] = (uint8_t)class;
        int small_hex = digit || (byte >= 'a' && byte <= 'f'), word = alnum || byte == '_', hyphen = byte == '-';
        charset_bits[byte] = (uint8_t)(alnum | word << 1 | (word || hyphen) << 2 | (upper || digit) << 3 |
                                       small_hex << 4 | (alnum || hyphen) << 5 |
                                       (word || hyphen || byte == '.') << 6 | hex << 7);
    }
}

/* The byte at a place, a line end outside the text. */
static inline int at(const text_t *text, int64_t place) {
    return place >= 0 && place < text->size ? text->data[place] : '\n';
}

static inline int class_at(const text_t *text, int64_t place) { return byte_class[at(text, place)]; }
static inline int is_digit(const text_t *text, int64_t place) { return class_at(text, place) & C_DIGIT; }

static inline int small(int byte) { return byte >= 'A' && byte <= 'Z' ? byte + 32 : byte; }

static inline int one_of(int byte, const char *set) { return byte && strchr(set, byte) != NULL; }

static inline int equals(const text_t *text, int64_t place, const char *word, int64_t size) {
    return place >= 0 && place + size <= text->size && memcmp(text->data + place, word, (size_t)size) == 0;
}

static inline int latin_letter_before(const text_t *text, int64_t place) {
    int first = at(text, place - 2), second = at(text, place - 1);
    return first >= 0xC3 && first <= 0xC9 && second >= 0x80 && second <= 0xBF &&
           !(first == 0xC3 && (second == 0x97 || second == 0xB7));
}

static inline int latin_letter_at(const text_t *text, int64_t place) { return latin_letter_before(text, place + 2); }

static inline int digits_within(const text_t *text, int64_t place, int width) {
    int count = 0;
    for (int offset = 0; offset < width; offset++) count += is_digit(text, place + offset);
    return count;
}

/* Lists of words that Python gives, in the order of `WORD_LISTS` in pii.py. */
enum {
    PHONE_CUES, SURE_PHONE_CUES, SSN_CUES, THING_CUES, DNI_CUES, NINO_CUES, IP_CUES, MAC_CUES, NO_TLD, SHARED_ACCOUNTS, NO_PASSWORD, NO_ADDRESS_WORDS,
    NO_ADDRESS_SIGNS, PLACEHOLDERS, UNITS, STREET_ENDINGS, FRENCH_STREETS, CHINESE_STREETS, CHINESE_HOUSES, IBAN_LENGTHS, CN_PROVINCES, WORD_LISTS
};

typedef struct {
    const uint8_t *text;
    int size;
} word_t;

typedef struct {
    word_t *words[WORD_LISTS];
    int counts[WORD_LISTS];
    uint8_t begins[WORD_LISTS][256]; /* whether a word of the list begins with a byte */
    word_t *all;
} lists_t;

/* Read the lists: for each a 16-bit count, for each word a byte with its size and its bytes. 0, or -1 if cut short. */
static int lists_read(lists_t *lists, const uint8_t *data, int64_t size) {
    const uint8_t *end = data + size, *from = data;
    int64_t total = 0;
    memset(lists->begins, 0, sizeof(lists->begins));
    for (int pass = 0; pass < 2; pass++) {
        from = data;
        int64_t used = 0;
        for (int list = 0; list < WORD_LISTS; list++) {
            if (end - from < 2) return -1;
            int count = from[0] | from[1] << 8;
            from += 2;
            if (pass) {
                lists->words[list] = lists->all + used;
                lists->counts[list] = count;
            }
            for (int word = 0; word < count; word++) {
                if (end - from < 1 || end - from - 1 < from[0]) return -1;
                if (pass) {
                    lists->all[used] = (word_t){from + 1, from[0]};
                    if (from[0]) lists->begins[list][from[1]] = 1;
                }
                used++;
                from += 1 + from[0];
            }
        }
        total = used;
        if (!pass && (lists->all = malloc((size_t)(total + 1) * sizeof(word_t))) == NULL) return -1;
    }
    return 0;
}

/* Whether `size` bytes at `place`, in small letters, are a word of a list. */
static int listed(const text_t *text, int64_t place, int64_t size, const lists_t *lists, int list) {
    for (int number = 0; number < lists->counts[list]; number++) {
        const word_t *word = &lists->words[list][number];
        if (word->size != size) continue;
        int64_t same = 0;
        while (same < size && small(at(text, place + same)) == word->text[same]) same++;
        if (same == size) return 1;
    }
    return 0;
}

#define CUE_WINDOW 40

static int cued(const text_t *text, int64_t place, const lists_t *lists, int list) {
    int64_t start = place > CUE_WINDOW ? place - CUE_WINDOW : 0;
    for (int64_t back = place; back > start; back--)
        if (text->data[back - 1] == '\n') {
            start = back;
            break;
        }
    for (int64_t found = start; found < place; found++) {
        int first = small(text->data[found]);
        if (!lists->begins[list][first]) continue;
        int begins = found == start || !(byte_class[small(text->data[found - 1])] & C_LOWER);
        if (!begins && (byte_class[first] & C_LOWER)) continue;
        for (int number = 0; number < lists->counts[list]; number++) {
            const word_t *word = &lists->words[list][number];
            if (word->text[0] != first || found + word->size > place) continue;
            int same = 1;
            while (same < word->size && small(text->data[found + same]) == word->text[same]) same++;
            if (same < word->size) continue;
            int64_t after = found + word->size;
            if (!(byte_class[first] & C_LOWER) || after == place || !(byte_class[small(text->data[after])] & C_LOWER))
                return 1;
        }
    }
    return 0;
}

/* Codes of kinds.py, and the rank by which one span wins over another. */
enum {
    EMAIL, PHONE, IP, MAC, CARD, IBAN, US_SSN, DE_TAX, DE_CARD, FR_NIR, ES_DNI, ES_NIE, IT_CF, UK_NINO, CN_RESIDENT,
    PASSPORT, PASSWORD, KEY, CREDENTIALS, NAME, ADDRESS, WORD
};
static const int8_t rank_of[] = {4, 1, 3, 3, 4, 5, 3, 3, 3, 4, 3, 3, 4, 3, 4, 2, 5, 6, 7};

/* The one cue of literals.py that the scanner gives by itself. */
#define CUE_HOUSE 13

typedef struct {
    int64_t *items;
    int64_t count, room;
    int failed;
} rows_t;

/* Add one row of four numbers; where memory is out, say so in `failed`. */
static void rows_add(rows_t *rows, int64_t a, int64_t b, int64_t c, int64_t d) {
    if (rows->count + 4 > rows->room) {
        int64_t room = rows->room ? rows->room * 2 : 256;
        int64_t *items = realloc(rows->items, (size_t)room * sizeof(int64_t));
        if (items == NULL) {
            rows->failed = 1;
            return;
        }
        rows->items = items;
        rows->room = room;
    }
    int64_t *row = rows->items + rows->count;
    row[0] = a, row[1] = b, row[2] = c, row[3] = d;
    rows->count += 4;
}

/* What a scan of one text works with. */
typedef struct {
    text_t text;
    const lists_t *lists;
    uint64_t codes;
    int64_t number;
    rows_t found;    /* candidates of this text: start, end, code, 0 */
    rows_t *reports; /* text, start, end, argument */
} scan_t;

static inline void add(scan_t *scan, int code, int64_t start, int64_t end) {
    if (scan->codes >> code & 1) rows_add(&scan->found, start, end, code, 0);
}

#endif
