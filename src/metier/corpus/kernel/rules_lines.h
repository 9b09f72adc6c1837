/* How the published rules see a text: its lines, their tokens, and what C4 says of each line. The compiled twin of
   rules_lines.py, which says what each thing is. */
#ifndef METIER_RULES_LINES_H
#define METIER_RULES_LINES_H

#include "rules_text.h"

#define WRAPPED_CHARS 40

typedef struct {
    int64_t short_chars, min_words, max_word_chars, end_mark, citations;
} line_rules;

typedef struct {
    span whole, word; /* word: from the first letter, mark or number to behind the last */
    size_t chars, word_chars, odd, hashes, ellipses, unspaced;
    uint32_t flags; /* of all its characters */
    int slash;
} token;

/* What C4 says of a line, in the order of the measures. */
enum { C4_LONG_WORD, C4_NO_END, C4_FEW_WORDS, C4_SCRIPT, C4_POLICY, C4_KEPT, C4_LOREM, C4_BRACES, C4_COUNT };

enum { LINE_BLANK, LINE_FENCED, LINE_TABLE, LINE_PROSE };

typedef struct {
    const uint8_t *at, *end;
    size_t fence_run;
    uint8_t fence_mark;
    int after_blank;
} line_reader;

static const uint32_t sentence_ends[] = {'.',    '!',    '?',    0x2026, '"',    '\'',   0x201D, 0x2019, 0xBB,
                                         0x203A, 0x300D, 0x300F, 0x3002, 0xFF01, 0xFF1F, 0xFF61, 0xFF0E, 0x61F,
                                         0x6D4,  0x964,  0x965,  0x1362, 0x104B, 0x17D4, 0x589,  0x700,  0x701,
                                         0x702,  0x203C, 0x2047, 0x2048, 0x2049, 0x203D};
static const uint32_t markup[] = {'*', '_', '`', ')', ']', 0xFF09, 0x3011, 0x3015};
static const uint32_t closers[] = {'"', '\'', 0x201D, 0x2019, 0xBB, ')', ']', '*', '_', '`'};
static const uint32_t bullets[] = {0x2022, 0x2023, 0x25AA, 0x25E6, 0x25CF, 0x25CB, 0x25A0, 0x25A1};

static line_reader lines_of(span text) { return (line_reader){text.from, text.to, 0, 0, 1}; }

static int next_single_line(line_reader *reader, span *raw, span *bare) {
    *raw = line_at(&reader->at, reader->end);
    *bare = stripped(*raw);
    int after_blank = reader->after_blank;
    reader->after_blank = is_blank(*bare);
    if (reader->fence_run) {
        if (closes_fence(*bare, reader->fence_mark, reader->fence_run)) reader->fence_run = 0;
        return LINE_FENCED;
    }
    uint8_t mark;
    size_t run = fence(*raw, &mark);
    if (run && (mark == '`' || after_blank)) {
        reader->fence_run = run;
        reader->fence_mark = mark;
        return LINE_FENCED;
    }
    if (is_blank(*bare)) return LINE_BLANK;
    return bare->to - bare->from > 1 && bare->from[0] == '|' && bare->to[-1] == '|' ? LINE_TABLE : LINE_PROSE;
}

/* Set a heading's or item's mark aside. */
static span without_mark(span bare, int *heading, int *bullet) {
    const uint8_t *at = bare.from;
    *heading = *bullet = 0;
    if (is_blank(bare)) return bare;
    if (*at == '#') {
        while (at < bare.to && *at == '#') at++;
        if (at - bare.from > 6 || at >= bare.to || !is_space_at(at, bare.to)) return bare;
        *heading = 1;
    } else if (*at >= '0' && *at <= '9') {
        while (at < bare.to && at - bare.from < 3 && *at >= '0' && *at <= '9') at++;
        if (at >= bare.to || (*at != '.' && *at != ')')) return bare;
        at++;
        if (at >= bare.to || !is_space_at(at, bare.to)) return bare;
    } else {
        uint32_t code, flags;
        at += flagged(at, bare.to, &code, &flags);
        int spaced = code == '-' || code == '*' || code == '+' || code == 0x2013 || code == 0x2014;
        *bullet = spaced ? at < bare.to && is_space_at(at, bare.to) : IS_IN(code, bullets);
        if (!*bullet) return bare;
    }
    return without_space_before((span){at, bare.to});
}

/* [a-zß-öø-ÿά-ώа-џա-և] */
static int begins_small(span bare) {
    uint32_t code, flags;
    flagged(bare.from, bare.to, &code, &flags);
    if (code < 0x80) return code >= 'a' && code <= 'z';
    return (code >= 0xDF && code <= 0xFF && code != 0xF7) || (code >= 0x3AC && code <= 0x3CE) ||
           (code >= 0x430 && code <= 0x45F) || (code >= 0x561 && code <= 0x587);
}

/* Take the next token off `rest`; 0 where there is none. `body` is the whole line's, for runs of dots. */
static int next_token(span *rest, span body, token *found) {
    *rest = without_space_before(*rest);
    if (is_blank(*rest)) return 0;
    const uint8_t *at = rest->from, *end = rest->to, *first = NULL, *last = NULL;
    size_t beyond_one = 0; /* bytes that are not the first of their character */
    enum { NONE, ONE_CJK, WORDS } state = NONE;
    token made = {0};
    while (at < end) {
        uint32_t code, flags;
        if (*at < 0x80) {
            flags = ascii_flags[*at];
            if (flags & METIER_WORD) {
                if (state == ONE_CJK) break;
                state = WORDS;
                if (!first) first = at;
                const uint8_t *run = at;
                do made.flags |= flags, at++;
                while (at < end && *at < 0x80 && ((flags = ascii_flags[*at]) & METIER_WORD));
                last = at;
                made.word_chars += (size_t)(at - run);
                continue;
            }
            if (flags & METIER_SPACE) break;
            if (*at == '.') {
                if (at == body.from || at[-1] != '.') {
                    const uint8_t *dot = at;
                    while (dot < body.to && *dot == '.') dot++;
                    made.ellipses += (size_t)(dot - at) / 3;
                }
            } else {
                made.odd += flags >> 7;
                made.hashes += *at == '#';
                made.slash |= *at == '/';
            }
            made.flags |= flags;
            at++;
            continue;
        }
        int length = flagged(at, end, &code, &flags);
        if (flags & METIER_SPACE) break;
        if (flags & METIER_WORD) {
            if (flags & METIER_CJK ? state != NONE : state == ONE_CJK) break;
            state = flags & METIER_CJK ? ONE_CJK : WORDS;
            if (!first) first = at;
            last = at + length;
            made.word_chars += !(flags & METIER_CJK);
        }
        made.odd += (flags & ODD) != 0;
        made.ellipses += code == 0x2026;
        made.unspaced += (code >= 0xE00 && code <= 0x109F) || (code >= 0x1780 && code <= 0x17FF);
        made.flags |= flags;
        beyond_one += (size_t)length - 1;
        at += length;
    }
    made.whole = (span){rest->from, at};
    made.word = (span){first, last};
    made.chars = (size_t)(at - rest->from) - beyond_one;
    rest->from = at;
    *found = made;
    return 1;
}

static void ending(span line, int *ended, int *ellipsis) {
    uint32_t code = 0, flags;
    const uint8_t *last = line.from;
    *ended = *ellipsis = 0;
    while (line.from < line.to) {
        last = before(line.to);
        flagged(last, line.to, &code, &flags);
        if (!IS_IN(code, markup)) break;
        line.to = last;
    }
    if (is_blank(line)) return;
    *ended = IS_IN(code, sentence_ends);
    *ellipsis = code == 0x2026 || (code == '.' && line.to - line.from >= 3 && last[-1] == '.' && last[-2] == '.');
}

/* The next line, together with those in which it goes on. */
static int next_line(line_reader *reader, span *raw, span *bare) {
    int heading, bullet, kind = next_single_line(reader, raw, bare);
    if (kind != LINE_PROSE) return kind;
    span last = *bare;
    without_mark(*bare, &heading, &bullet);
    while (!heading && reader->at && chars_in(last) >= WRAPPED_CHARS) {
        line_reader ahead = *reader;
        span next;
        int ended, ellipsis;
        ending(last, &ended, &ellipsis);
        if (ended) break;
        if (next_single_line(&ahead, &next, &last) != LINE_PROSE || !begins_small(last)) break;
        *reader = ahead;
        raw->to = next.to;
        bare->to = last.to;
    }
    return kind;
}

static int64_t sentences_in(span line) {
    int64_t count = 0;
    int waiting = 0;
    while (line.from < line.to) {
        uint32_t code, flags;
        line.from += flagged(line.from, line.to, &code, &flags);
        if (code == '.' || code == '!' || code == '?') {
            waiting = 1;
        } else if (flags & METIER_SPACE) {
            count += waiting;
            waiting = 0;
        } else if (!(flags & METIER_WORD) && waiting && IS_IN(code, closers)) {
            continue;
        } else {
            waiting = 0;
            count += code == 0x3002 || code == 0xFF01 || code == 0xFF1F || code == 0xFF61;
        }
    }
    return count + waiting;
}

enum { HAS_LOREM = 1, HAS_SCRIPT = 2, HAS_POLICY = 4 };

static int phrases_in(span line) {
    static const struct {
        const char *text;
        size_t size;
        int kind;
    } phrases[] = {{"lorem ipsum", 11, HAS_LOREM},     {"javascript", 10, HAS_SCRIPT},
                   {"terms of use", 12, HAS_POLICY},   {"privacy policy", 14, HAS_POLICY},
                   {"cookie policy", 13, HAS_POLICY},  {"uses cookies", 12, HAS_POLICY},
                   {"use of cookies", 14, HAS_POLICY}, {"use cookies", 11, HAS_POLICY}};
    int found = 0;
    for (const uint8_t *at = line.from; at < line.to; at++) {
        uint8_t c = *at | 0x20;
        if (c != 'l' && c != 'j' && c != 't' && c != 'p' && c != 'c' && c != 'u') continue;
        for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
            if ((size_t)(line.to - at) >= phrases[i].size && same_letters(at, phrases[i].text, phrases[i].size))
                found |= phrases[i].kind;
    }
    return found;
}

/* The bytes of a citation mark at `at`, or 0: [12], [], [edit], [citation needed]. */
static size_t citation(const uint8_t *at, const uint8_t *end) {
    size_t left = (size_t)(end - at), size = 1;
    if (!left || *at != '[') return 0;
    while (size < left && at[size] >= '0' && at[size] <= '9') size++;
    if (size < left && at[size] == ']') return size + 1;
    if (left >= 6 && !memcmp(at, "[edit]", 6)) return 6;
    return left >= 17 && !memcmp(at, "[citation needed]", 17) ? 17 : 0;
}

static size_t words_of(size_t words, size_t cjk) { return words - cjk + (cjk + 1) / 2; }

static size_t line_words(span bare) {
    int heading, bullet;
    span body = without_mark(bare, &heading, &bullet), rest = body;
    size_t words = 0, cjk = 0;
    token each;
    while (next_token(&rest, body, &each)) {
        words += (each.flags & METIER_WORD) != 0;
        cjk += (each.flags & METIER_CJK) != 0;
    }
    return words_of(words, cjk);
}

/* Say what C4 does with a line, or return -1 if memory is out. `*line` loses its citations. */
static int c4_verdict(const line_rules *rules, buffer *uncited, span *line, size_t words, size_t longest,
                      int64_t *sentences) {
    int ended, ellipsis;
    *sentences = 0;
    if ((int64_t)longest > rules->max_word_chars) return C4_LONG_WORD;
    if (rules->citations && memchr(line->from, '[', (size_t)(line->to - line->from))) {
        const uint8_t *at = line->from;
        uncited->size = 0;
        if (!GROW(uncited->data, uncited->room, (size_t)(line->to - at))) return -1;
        while (at < line->to) {
            size_t size = citation(at, line->to);
            if (!size) uncited->data[uncited->size++] = *at;
            at += size ? size : 1;
        }
        if (uncited->size < (size_t)(line->to - line->from)) {
            *line = stripped((span){uncited->data, uncited->data + uncited->size});
            words = line_words(*line);
        }
    }
    ending(*line, &ended, &ellipsis);
    if (rules->end_mark && (!ended || ellipsis)) return C4_NO_END;
    if ((int64_t)words < rules->min_words) return C4_FEW_WORDS;
    int phrases = phrases_in(*line);
    if (phrases & HAS_LOREM) return C4_LOREM;
    if (phrases & HAS_SCRIPT) return C4_SCRIPT;
    if (line->from < line->to && memchr(line->from, '{', (size_t)(line->to - line->from))) return C4_BRACES;
    if (phrases & HAS_POLICY) return C4_POLICY;
    *sentences = sentences_in(*line);
    if (!*sentences) *sentences = 1;
    return C4_KEPT;
}

#endif
