/* What the rules share: flags of characters, valid UTF-8, lines of Markdown, growing arrays.

   Each function follows its namesake in rules_prose.py or metier.core.markdown, which say why. */
#ifndef METIER_RULES_TEXT_H
#define METIER_RULES_TEXT_H

#include <stdlib.h>
#include <string.h>

#include "text.h"

#define LETTER 64u /* WORD and no DIGIT */
#define ODD 128u   /* no letter, digit, space or punctuation: the twin's _ODD */

/* The flags of ASCII with LETTER and ODD, and what latin_word and is_strange look for; filled by rules_text_init. */
static uint8_t ascii_flags[128], trims[256], vowels[128];

static const uint32_t plain_marks[] = {0xB7,   0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D,
                                       0x2026, 0x3001, 0x3002, 0x300A, 0x300B, 0x300C, 0x300D,
                                       0xFF01, 0xFF08, 0xFF09, 0xFF0C, 0xFF1A, 0xFF1B, 0xFF1F};

static int is_in(uint32_t code, const uint32_t *list, size_t count) {
    for (size_t at = 0; at < count; at++)
        if (list[at] == code) return 1;
    return 0;
}
#define IS_IN(code, list) is_in(code, list, sizeof(list) / sizeof(*(list)))

static uint32_t flags_beyond_ascii(uint32_t code) {
    uint32_t flags = metier_class(code);
    if (flags & METIER_WORD) return flags & METIER_DIGIT ? flags : flags | LETTER;
    return flags & METIER_SPACE || IS_IN(code, plain_marks) ? flags : flags | ODD;
}

static void rules_text_init(void) {
    for (uint32_t code = 0; code < 128; code++) {
        uint32_t flags = metier_class(code);
        if (flags & METIER_WORD)
            flags |= flags & METIER_DIGIT ? 0 : LETTER;
        else if (!(flags & METIER_SPACE) && (code == 0 || !strchr("_.,;:!?'\"()-/@&%#*[]{}\\", (int)code)))
            flags |= ODD;
        ascii_flags[code] = (uint8_t)flags;
        trims[code] = code && strchr(".,;:()\"'*`", (int)code);
        vowels[code] = code && strchr("aeiouyAEIOUY", (int)code);
    }
}

/* Decode the character at `at` of valid UTF-8, give its flags, and return its length. */
static inline int flagged(const uint8_t *at, const uint8_t *end, uint32_t *code, uint32_t *flags) {
    if (*at < 0x80) {
        *code = *at;
        *flags = ascii_flags[*at];
        return 1;
    }
    int length = metier_decode(at, end, code);
    *flags = flags_beyond_ascii(*code);
    return length;
}

/* Return where the character before `at` begins, in valid UTF-8 with at least one character before it. */
static inline const uint8_t *before(const uint8_t *at) {
    do at--;
    while ((*at & 0xC0) == 0x80);
    return at;
}

static inline int is_space_at(const uint8_t *at, const uint8_t *end) {
    uint32_t code, flags;
    flagged(at, end, &code, &flags);
    return (flags & METIER_SPACE) != 0;
}

typedef struct {
    const uint8_t *from, *to;
} span;

static inline span without_space_before(span text) {
    uint32_t code, flags;
    while (text.from < text.to) {
        int length = flagged(text.from, text.to, &code, &flags);
        if (!(flags & METIER_SPACE)) break;
        text.from += length;
    }
    return text;
}

/* str.strip */
static inline span stripped(span text) {
    text = without_space_before(text);
    while (text.from < text.to) {
        const uint8_t *last = before(text.to);
        if (!is_space_at(last, text.to)) break;
        text.to = last;
    }
    return text;
}

static inline int is_blank(span text) { return text.from >= text.to; }

static inline size_t chars_in(span text) {
    size_t count = 0;
    for (const uint8_t *at = text.from; at < text.to; at++) count += (*at & 0xC0) != 0x80;
    return count;
}

/* Sixteen characters at once, as long as they are ASCII: GCC and Clang turn these vectors into SSE2 or NEON. */
typedef uint8_t sixteen __attribute__((vector_size(16)));
typedef int8_t sixteen_masks __attribute__((vector_size(16)));

/* Skip blocks of 16 ASCII characters; count what of them is white space and what a control character. */
static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end, size_t *spaces, size_t *controls) {
    while (end - at >= 16) {
        sixteen_masks blank = {0}, control = {0};
        int blocks = 0;
        for (; blocks < 127 && end - at >= 16; blocks++, at += 16) {
            sixteen c;
            uint64_t halves[2];
            memcpy(&c, at, 16);
            memcpy(halves, at, 16);
            if ((halves[0] | halves[1]) & 0x8080808080808080u) break;
            blank -= (sixteen_masks)((c == ' ') | (c - 9 < 5) | (c - 28 < 4));
            control -= (sixteen_masks)((c < 9) | (c - 14 < 14) | (c == 127));
        }
        for (int lane = 0; lane < 16; lane++) *spaces += (size_t)blank[lane], *controls += (size_t)control[lane];
        if (blocks < 127) break;
    }
    return at;
}

/* The characters that are no white space. */
static size_t solid_chars(span text) {
    size_t spaces = 0, controls = 0;
    const uint8_t *behind = skip_ascii(text.from, text.to, &spaces, &controls);
    size_t count = (size_t)(behind - text.from) - spaces;
    text.from = behind;
    while (text.from < text.to) {
        uint32_t code, flags;
        text.from += flagged(text.from, text.to, &code, &flags);
        count += !(flags & METIER_SPACE);
    }
    return count;
}

/* An array that grows. `room` is in items; grown() returns 0 where memory is out, and then keeps what was there. */
static int grown(void **items, size_t *room, size_t wanted, size_t size) {
    if (wanted <= *room) return 1;
    size_t more = *room < 64 ? 64 : *room;
    while (more < wanted) more *= 2;
    void *moved = realloc(*items, more * size);
    if (!moved) return 0;
    *items = moved;
    *room = more;
    return 1;
}
#define GROW(items, room, wanted) grown((void **)&(items), &(room), (wanted), sizeof(*(items)))

typedef struct {
    uint8_t *data;
    size_t size, room;
} buffer;

static int append(buffer *out, const void *data, size_t size) {
    if (!GROW(out->data, out->room, out->size + size)) return 0;
    if (size) memcpy(out->data + out->size, data, size);
    out->size += size;
    return 1;
}

/* Make the text valid UTF-8: as it is, or a copy in `mended` with U+FFFD for what is none. Returns 0 if memory is out.
 */
static int mend(span *text, buffer *mended) {
    const uint8_t *at = text->from;
    uint32_t code;
    while (at < text->to) {
        uint64_t eight;
        if (text->to - at >= 8 && (memcpy(&eight, at, 8), !(eight & 0x8080808080808080u))) {
            at += 8;
            continue;
        }
        int length = metier_decode(at, text->to, &code);
        if (code == METIER_REPLACEMENT && !(length == 3 && at[0] == 0xEF && at[1] == 0xBF && at[2] == 0xBD)) break;
        at += length;
    }
    if (at >= text->to) return 1;
    mended->size = 0;
    while (text->from < text->to) {
        uint8_t encoded[4];
        text->from += metier_decode(text->from, text->to, &code);
        size_t length = (size_t)metier_encode(code, encoded);
        if (!append(mended, encoded, length)) return 0;
    }
    *text = (span){mended->data, mended->data + mended->size};
    return 1;
}

/* The next line of a text, without its line feed; `at` goes past it, and is NULL after the last. */
static inline span line_at(const uint8_t **at, const uint8_t *end) {
    const uint8_t *feed = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
    span line = {*at, feed ? feed : end};
    *at = feed ? feed + 1 : NULL;
    return line;
}

/* ^ {0,12}(`{3,}|~{3,}): returns the length of the run and its character, or 0. */
static size_t fence(span line, uint8_t *mark) {
    const uint8_t *at = line.from;
    while (at < line.to && *at == ' ' && at - line.from < 12) at++;
    if (at >= line.to || (*at != '`' && *at != '~')) return 0;
    *mark = *at;
    size_t run = 0;
    while (at + run < line.to && at[run] == *mark) run++;
    return run >= 3 ? run : 0;
}

/* Whether a stripped line is nothing but at least `run` of `mark`. */
static int closes_fence(span bare, uint8_t mark, size_t run) {
    if ((size_t)(bare.to - bare.from) < run) return 0;
    for (const uint8_t *at = bare.from; at < bare.to; at++)
        if (*at != mark) return 0;
    return 1;
}

/* Compare ASCII letters without their case. */
static inline int same_letters(const uint8_t *at, const char *lower, size_t size) {
    for (size_t i = 0; i < size; i++) {
        uint8_t c = at[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != (uint8_t)lower[i]) return 0;
    }
    return 1;
}

#define LONGEST_WORD 60

/* [ÃÂ][\u0080-\u00bf]|â€[\u0080-\u2122]|\ufffd|ï¿½, and where `wide` also [ÐÑ][\u0080-\u00bf]|锟斤拷; `*size` is its
 * bytes. */
static int mojibake_at(const uint8_t *at, const uint8_t *end, int wide, int *size) {
    uint32_t code, next, third;
    int length = metier_decode(at, end, &code), more;
    *size = length;
    if (code == METIER_REPLACEMENT) return 1;
    int pair = code == 0xC3 || code == 0xC2 || (wide && (code == 0xD0 || code == 0xD1));
    int triple = code == 0xE2 || code == 0xEF || (wide && code == 0x951F);
    if ((!pair && !triple) || at + length >= end) return 0;
    more = metier_decode(at + length, end, &next);
    *size = length + more;
    if (pair) return next >= 0x80 && next <= 0xBF;
    if (at + length + more >= end) return 0;
    *size += metier_decode(at + length + more, end, &third);
    if (code == 0xE2) return next == 0x20AC && third >= 0x80 && third <= 0x2122;
    return code == 0xEF ? next == 0xBF && third == 0xBD : next == 0x65A4 && third == 0x62F7;
}

/* The word without punctuation at its ends, if that is five or more ASCII letters and digits. */
static int latin_word(span word, span *latin) {
    while (word.from < word.to && trims[*word.from]) word.from++;
    while (word.from < word.to && trims[word.to[-1]]) word.to--;
    *latin = word;
    if (word.to - word.from < 5) return 0;
    for (const uint8_t *at = word.from; at < word.to; at++)
        if (*at >= 0x80 || !(ascii_flags[*at] & METIER_WORD)) return 0;
    return 1;
}

/* Whether a Latin word has no vowel, or three times [a-z][A-Z0-9]|[0-9][A-Za-z]. */
static int is_strange(span word) {
    int spoken = 0, changes = 0;
    for (const uint8_t *at = word.from; at < word.to; at++) spoken |= vowels[*at];
    for (const uint8_t *at = word.from; at + 1 < word.to; at++) {
        int lower = at[0] >= 'a', digit = at[0] <= '9';
        if ((lower && at[1] < 'a') || (digit && at[1] > '9')) {
            changes++;
            at++;
        }
    }
    return !spoken || changes >= 3;
}

#endif
