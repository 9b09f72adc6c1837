/* What the house rules count: the compiled twin of rules_house.py, which says what each thing is.

   Its regular expressions are written out; the comments above give them. \w is WORD or an underscore. */
#ifndef METIER_RULES_HOUSE_H
#define METIER_RULES_HOUSE_H

#include "rules_text.h"

#define SHAPE(X)                                                                                                     \
    X(prose)                                                                                                         \
    X(code) X(tables) X(fragments) X(parts) X(codes) X(entries) X(dated) X(words) X(legal_terms) X(chars) X(damaged) \
        X(part_words) X(part_chars) X(odd) X(latin) X(strange)
#define SHAPE_ENUM(name) S_##name,
#define SHAPE_NAME(name) #name " "
enum { SHAPE(SHAPE_ENUM) SHAPE_COUNT };
static const char shape_names[] = SHAPE(SHAPE_NAME);

/* metier.core.markdown */
typedef enum { BLOCK_HEADING, BLOCK_PARAGRAPH, BLOCK_ITEM, BLOCK_TABLE, BLOCK_CODE } block_kind;

typedef struct {
    span raw, bare;
    size_t fence_run;
    uint8_t fence_mark;
    int heading, table, item, indented;
} block_line;

typedef struct {
    const uint8_t *at, *end;
    block_line line; /* the first line not yet in a block */
    int has_line, after_blank, in_list;
} block_reader;

/* ^\s*(?:[-*+•]|\d{1,3}[.)])\s+ */
static int is_item(span line) {
    uint32_t code, flags;
    line = without_space_before(line);
    if (is_blank(line)) return 0;
    int length = flagged(line.from, line.to, &code, &flags);
    if (code == '-' || code == '*' || code == '+' || code == 0x2022) {
        line.from += length;
    } else {
        int digits = 0;
        while (flags & METIER_DIGIT && digits < 3) {
            line.from += length, digits++;
            if (is_blank(line)) return 0;
            length = flagged(line.from, line.to, &code, &flags);
        }
        if (!digits || (code != '.' && code != ')')) return 0;
        line.from++;
    }
    return !is_blank(line) && is_space_at(line.from, line.to);
}

static void read_line(block_reader *reader) {
    block_line *line = &reader->line;
    reader->has_line = reader->at != NULL;
    if (!reader->has_line) return;
    memset(line, 0, sizeof(*line));
    line->raw = line_at(&reader->at, reader->end);
    line->bare = stripped(line->raw);
    if (is_blank(line->bare)) return;
    const uint8_t *at = line->raw.from, *end = line->raw.to;
    line->fence_run = fence(line->raw, &line->fence_mark);
    while (at < end && *at == '#') at++;
    int marks = (int)(at - line->raw.from > 6 ? 7 : at - line->raw.from);
    line->heading = marks >= 1 && marks <= 6 && at < line->bare.to && is_space_at(at, end);
    line->table = line->bare.to - line->bare.from > 1 && line->bare.from[0] == '|' && line->bare.to[-1] == '|';
    line->item = is_item(line->raw);
    at = line->raw.from;
    line->indented = *at == '\t' || (end - at >= 4 && !memcmp(at, "    ", 4));
}

static block_reader blocks_of(span text) {
    block_reader reader;
    memset(&reader, 0, sizeof(reader));
    reader.at = text.from, reader.end = text.to;
    reader.after_blank = 1;
    read_line(&reader);
    return reader;
}

static int starts_block(const block_line *line) {
    return is_blank(line->bare) || line->fence_run || line->heading || line->table || line->item;
}

/* Give the next block and its text; 0 after the last. */
static int next_block(block_reader *reader, block_kind *kind, span *text) {
    while (reader->has_line && is_blank(reader->line.bare)) {
        reader->after_blank = 1;
        read_line(reader);
    }
    if (!reader->has_line) return 0;
    block_line first = reader->line, *line = &reader->line;
    *text = first.raw;
    if (first.fence_run)
        *kind = BLOCK_CODE;
    else if (first.heading)
        *kind = BLOCK_HEADING;
    else if (first.table)
        *kind = BLOCK_TABLE;
    else if (first.indented && !reader->in_list && reader->after_blank)
        *kind = BLOCK_CODE;
    else
        *kind = first.item ? BLOCK_ITEM : BLOCK_PARAGRAPH;
    reader->in_list = *kind == BLOCK_ITEM || (reader->in_list && *first.raw.from == ' ');
    reader->after_blank = 0;
    read_line(reader);
    while (reader->has_line) {
        if (first.fence_run) {
            int closes = closes_fence(line->bare, first.fence_mark, first.fence_run);
            text->to = line->raw.to;
            read_line(reader);
            if (closes) break;
            continue;
        }
        if (*kind == BLOCK_HEADING || (*kind == BLOCK_TABLE && !line->table)) break;
        if (*kind == BLOCK_CODE && (is_blank(line->bare) || !line->indented)) break;
        if ((*kind == BLOCK_ITEM || *kind == BLOCK_PARAGRAPH) && starts_block(line)) break;
        text->to = line->raw.to;
        read_line(reader);
    }
    return 1;
}

static inline int is_w(uint32_t code, uint32_t flags) { return flags & METIER_WORD || code == '_'; }

/* A place in a text that is matched; code is UINT32_MAX at the end. */
typedef struct {
    const uint8_t *at, *end;
    uint32_t code, flags;
    int length;
} cursor;

static cursor look(const uint8_t *at, const uint8_t *end) {
    cursor place = {at, end, UINT32_MAX, 0, 0};
    if (at < end) place.length = flagged(at, end, &place.code, &place.flags);
    return place;
}

static cursor after(cursor place) { return look(place.at + place.length, place.end); }
static int at_end(cursor place) { return place.at >= place.end; }
static int at_digit(cursor place) { return (place.flags & METIER_DIGIT) != 0; }
static int at_w(cursor place) { return !at_end(place) && is_w(place.code, place.flags); }

/* \W*\Z */
static int no_more_words(cursor place) {
    for (; !at_end(place); place = after(place))
        if (at_w(place)) return 0;
    return 1;
}

/* ^[\W_]*[^\W\d_]+(?:['’][^\W\d_]+)?(?:\([^)]*\))?\W*\Z */
static int is_plain_word(span word) {
    /* ASCII letters with punctuation around them, which nearly all are. */
    const uint8_t *at = word.from;
    while (at < word.to && *at < 0x80 && !(ascii_flags[*at] & METIER_WORD)) at++;
    const uint8_t *letters = at;
    while (at < word.to && *at < 0x80 && ascii_flags[*at] & LETTER) at++;
    if (at > letters) {
        while (at < word.to && *at < 0x80 && !(ascii_flags[*at] & METIER_WORD) && *at != '_') at++;
        if (at == word.to) return 1;
    }
    cursor place = look(word.from, word.to);
    while (!at_end(place) && !(place.flags & METIER_WORD)) place = after(place);
    if (!(place.flags & LETTER)) return 0;
    while (place.flags & LETTER) place = after(place);
    if (place.code == '\'' || place.code == 0x2019) {
        cursor next = after(place);
        if (next.flags & LETTER)
            for (place = next; place.flags & LETTER;) place = after(place);
    }
    if (place.code == '(') {
        const uint8_t *close = memchr(place.at, ')', (size_t)(place.end - place.at));
        if (close && no_more_words(look(close + 1, place.end))) return 1;
    }
    return no_more_words(place);
}

/* [\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af] */
static inline int is_cjk(uint32_t code) {
    return code >= 0x3040 && (code <= 0x30FF || (code >= 0x3400 && code <= 0x4DBF) ||
                              (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0xAC00 && code <= 0xD7AF));
}

/* [.!?:;]["')\]*]*(?:\s|$)|[。！？；] in the text without white space at its end */
static int has_sentence_end(span text) {
    int waiting = 0;
    for (cursor place = look(text.from, text.to); !at_end(place); place = after(place)) {
        uint32_t code = place.code;
        if (code == 0x3002 || code == 0xFF01 || code == 0xFF1F || code == 0xFF1B) return 1;
        if (waiting && place.flags & METIER_SPACE) return 1;
        if (code == '.' || code == '!' || code == '?' || code == ':' || code == ';')
            waiting = 1;
        else if (code != '"' && code != '\'' && code != ')' && code != ']' && code != '*')
            waiting = 0;
    }
    return waiting;
}

/* Take the next run without white space, and without CJK where `around_cjk`; those are counted. 0 where there is none.
 */
static int next_run(span *rest, int around_cjk, span *run, size_t *chars, size_t *cjk) {
    uint32_t code, flags;
    size_t count = 0;
    const uint8_t *from = NULL;
    while (rest->from < rest->to) {
        int length = flagged(rest->from, rest->to, &code, &flags);
        int is_one = code >= 0x3040 && is_cjk(code);
        *cjk += (size_t)is_one;
        if (flags & METIER_SPACE || (around_cjk && is_one)) {
            if (from) break;
        } else {
            if (!from) from = rest->from;
            count++;
        }
        rest->from += length;
    }
    if (!from) return 0;
    /* What ends a run is looked at again: a CJK character must not count twice. */
    if (rest->from < rest->to && around_cjk && is_cjk(code)) *cjk -= 1;
    *run = (span){from, rest->from};
    *chars = count;
    return 1;
}

static int is_sentence(span text) {
    span rest = text, run;
    size_t chars, cjk = 0, tokens = 0, plain = 0;
    while (next_run(&rest, 1, &run, &chars, &cjk)) {
        tokens++;
        plain += (size_t)is_plain_word(run);
    }
    if (4 * plain + cjk < 2 * tokens) return 0;
    return 2 * tokens + cjk >= 20 || (2 * tokens + cjk >= 12 && has_sentence_end(text));
}

/* ^\W*(?=\S{6,}\W*\Z)(?:[^\W_]{0,3}[-_./:]?)?(?:\d[-_./:]*){5,}\W*\Z

   Behind \W* stands the first \w, or the one separator before it: anything else there could not be matched. */
static int is_separator(cursor place) {
    return place.code == '-' || place.code == '_' || place.code == '.' || place.code == '/' || place.code == ':';
}

static int is_code_from(cursor start, const uint8_t *last_w) {
    size_t solid = 0;
    cursor place = start;
    for (; !at_end(place) && !(place.flags & METIER_SPACE); place = after(place)) solid++;
    if (solid < 6 || place.at < last_w) return 0;
    place = start;
    for (int lead = 0; lead <= 3; lead++) {
        for (int separated = 0; separated <= 1; separated++) {
            if (separated && !is_separator(place)) continue;
            cursor digit = separated ? after(place) : place;
            int digits = 0;
            while (at_digit(digit)) {
                digits++;
                digit = after(digit);
                while (is_separator(digit)) digit = after(digit);
            }
            if (digits >= 5 && digit.at >= last_w) return 1;
        }
        if (!(place.flags & METIER_WORD)) return 0;
        place = after(place);
    }
    return 0;
}

static int is_code(span part) {
    part = stripped(part);
    const uint8_t *last_w = part.to;
    cursor first = look(part.from, part.to);
    while (!at_end(first) && !at_w(first)) first = after(first);
    if (at_end(first)) return 0;
    while (!at_w(look(before(last_w), part.to))) last_w = before(last_w);
    if (is_code_from(first, last_w)) return 1;
    if (first.at == part.from) return 0;
    cursor ahead = look(before(first.at), part.to);
    return is_separator(ahead) && is_code_from(ahead, last_w);
}

/* (?:19|20)\d\d, or the same place */
static cursor year(cursor place) {
    if (place.end - place.at < 2 || (memcmp(place.at, "19", 2) && memcmp(place.at, "20", 2))) return place;
    cursor one = look(place.at + 2, place.end), two = at_digit(one) ? after(one) : one;
    return at_digit(one) && at_digit(two) ? after(two) : place;
}

/* (?ai:version |release |v)?\d+\.\d+(?:\.\d+)+(?![.\d]*\.\s)\b

   A full stop and white space behind the digits and stops forbids every shorter match as well; without it, the last
   group may be left to what follows, if two are left before. */
static int is_version(cursor place) {
    Py_ssize_t left = place.end - place.at;
    if (left >= 8 && (same_letters(place.at, "version ", 8) || same_letters(place.at, "release ", 8)))
        place = look(place.at + 8, place.end);
    else if (place.code == 'v' || place.code == 'V')
        place = after(place);
    int groups = 0;
    cursor run = place, behind = place;
    for (;; groups++) {
        if (groups && behind.code != '.') break;
        cursor digit = groups ? after(behind) : behind;
        if (!at_digit(digit)) break;
        while (at_digit(digit)) digit = after(digit);
        behind = digit;
    }
    uint32_t last = 0;
    for (; at_digit(run) || run.code == '.'; run = after(run)) last = run.code;
    if (groups < 3 || (last == '.' && run.flags & METIER_SPACE)) return 0;
    return groups > 3 || !at_w(behind);
}

/* ^\W*(?:(?:19|20)\d\d-\d\d(?:-\d\d)?\b | a version | \d{1,2} \w{3,9} (?:19|20)\d\d\b) */
static int is_log_entry(span text) {
    while (text.from < text.to && strchr("#-*+ ", *text.from) && *text.from) text.from++;
    text = stripped(text);
    cursor place = look(text.from, text.to), end, next;
    while (!at_end(place) && !at_w(place)) place = after(place);
    end = year(place);
    if (end.at != place.at && end.code == '-') {
        next = after(end);
        if (at_digit(next) && at_digit(after(next)) && !at_w(after(after(next)))) return 1;
    }
    if (is_version(place)) return 1;
    if (!at_digit(place)) return 0;
    next = after(place);
    if (at_digit(next)) next = after(next);
    if (next.code != ' ') return 0;
    int letters = 0;
    for (next = after(next); at_w(next) && letters <= 9; next = after(next)) letters++;
    if (letters < 3 || letters > 9 || next.code != ' ') return 0;
    next = after(next);
    end = year(next);
    return end.at != next.at && !at_w(end);
}

static size_t legal_term(const uint8_t *at, const uint8_t *end) {
    static const struct {
        const char *text;
        size_t size;
    } terms[] = {{"hereby grant", 12},    {"without warranty", 16}, {"warranties of", 13}, {"as is\"", 6},
                 {"merchantability", 15}, {"redistribut", 11},      {"public domain", 13}, {"liable for any", 14},
                 {"licensor", 8},         {"licensee", 8},          {"governing law", 13}, {"copyright holder", 16},
                 {"derivative work", 15}, {"all copyright", 13},    {"affidavit", 9},      {"dedicate", 8}};
    for (size_t i = 0; i < sizeof(terms) / sizeof(*terms); i++)
        if ((size_t)(end - at) >= terms[i].size && same_letters(at, terms[i].text, terms[i].size)) return terms[i].size;
    return 0;
}

/* The first two letters of the legal terms: few places of a text need the whole comparison. */
static inline int may_be_legal(const uint8_t *at, const uint8_t *end) {
    if (end - at < 6) return 0;
    switch ((at[0] | 0x20) << 8 | at[1] | 0x20) {
    case 'h' << 8 | 'e':
    case 'w' << 8 | 'i':
    case 'w' << 8 | 'a':
    case 'a' << 8 | 's':
    case 'm' << 8 | 'e':
    case 'r' << 8 | 'e':
    case 'p' << 8 | 'u':
    case 'l' << 8 | 'i':
    case 'g' << 8 | 'o':
    case 'c' << 8 | 'o':
    case 'd' << 8 | 'e':
    case 'a' << 8 | 'l':
    case 'a' << 8 | 'f': return 1;
    default: return 0;
    }
}

static void count_whole(span text, int64_t *out) {
    int inside = 0;
    const uint8_t *skip_terms = text.from, *skip_damage = text.from;
    for (const uint8_t *at = text.from; at < text.to;) {
        uint32_t code, flags;
        int length = flagged(at, text.to, &code, &flags), w = is_w(code, flags);
        out[S_words] += w && !inside;
        inside = w;
        out[S_chars]++;
        if (length == 1) {
            if (w && at >= skip_terms && may_be_legal(at, text.to)) {
                size_t size = legal_term(at, text.to);
                out[S_legal_terms] += size != 0;
                skip_terms = at + size;
            }
        } else if (at >= skip_damage) {
            int size;
            if (mojibake_at(at, text.to, 0, &size)) {
                out[S_damaged]++;
                skip_damage = at + size;
            }
        }
        at += length;
    }
}

static void count_part(span text, int64_t *out) {
    span rest = text, run, word;
    size_t chars, cjk = 0;
    out[S_parts]++;
    out[S_codes] += is_code(text);
    while (cjk = 0, next_run(&rest, 0, &run, &chars, &cjk)) {
        out[S_part_words]++;
        out[S_part_chars] += (int64_t)chars;
        for (const uint8_t *at = run.from; at < run.to;) {
            uint32_t code, flags;
            at += flagged(at, run.to, &code, &flags);
            out[S_odd] += (flags & ODD) != 0;
        }
        if (chars > LONGEST_WORD && !cjk && !memchr(run.from, '/', (size_t)(run.to - run.from)))
            out[S_odd] += (int64_t)chars;
        if (latin_word(run, &word)) {
            out[S_latin]++;
            out[S_strange] += is_strange(word);
        }
    }
}

/* Fill `out` with the shape of a text. Returns 0 if memory is out. */
static int shape_text(span text, buffer *mended, int64_t *out) {
    memset(out, 0, SHAPE_COUNT * sizeof(*out));
    if (!mend(&text, mended)) return 0;
    count_whole(text, out);
    block_reader reader = blocks_of(text);
    block_kind kind;
    span block;
    while (next_block(&reader, &kind, &block)) {
        int64_t size = kind == BLOCK_HEADING ? 0 : (int64_t)solid_chars(block);
        if (kind == BLOCK_CODE) {
            out[S_code] += size;
        } else if (kind == BLOCK_TABLE) {
            int64_t worded = 0;
            for (const uint8_t *at = block.from; at < block.to;) {
                const uint8_t *bar = memchr(at, '|', (size_t)(block.to - at));
                span cell = {at, bar ? bar : block.to};
                if (is_sentence(cell)) worded += (int64_t)solid_chars(cell);
                at = bar ? bar + 1 : block.to;
            }
            out[S_prose] += worded;
            out[S_tables] += size - worded;
        } else if (kind != BLOCK_HEADING) {
            out[is_sentence(block) ? S_prose : S_fragments] += size;
            count_part(block, out);
        }
        if (kind == BLOCK_HEADING || kind == BLOCK_ITEM) {
            out[S_entries]++;
            out[S_dated] += is_log_entry(block);
        }
    }
    return 1;
}

#endif
