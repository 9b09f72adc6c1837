/* Passwords, keys and tokens, and the words that lead to them: assigned.py and the Literals of structured.py. */
#ifndef METIER_PII_ASSIGNED_H
#define METIER_PII_ASSIGNED_H

#include "pii_text.h"
#include "pii_numbers.h"

/* ---- words to look for ---- */

enum { REPORT, ACT_KEY, ACT_TOKEN, ACT_BLOCK, ACT_PASSWORD, ACT_SECRET, ACT_BEARER, ACT_DOCUMENT };

#define SHORTEST_LITERAL 3
#define SLOTS 65536

/* One word as it lies in a compiled table, its bytes elsewhere in the table. */
typedef struct {
    uint32_t text, size;
    int32_t argument;
    uint16_t fewest, most;
    uint8_t act, digits, unused[2];
} literal_t;

/* A compiled table: bits of the slots in use, where each slot's words begin, the words by slot, their bytes. */
typedef struct {
    const uint64_t *bits;   /* SLOTS / 64 */
    const uint32_t *starts; /* SLOTS + 1 */
    const literal_t *words;
    const uint8_t *bytes;
    uint32_t count, size;
} literals_t;

static inline uint32_t slot_of(const uint8_t *text) {
    uint32_t three = text[0] | (uint32_t)text[1] << 8 | (uint32_t)text[2] << 16;
    return three * 0x9E3779B1u >> 16; /* the golden ratio in 32 bits */
}

#define TABLE_HEAD (8 + SLOTS / 8 + (SLOTS + 1) * 4 + 4)

/* Look into a compiled table. Returns 0, or -1 if it points outside itself. */
static int literals_open(literals_t *literals, const uint8_t *table, int64_t size) {
    if (size < TABLE_HEAD || (uintptr_t)table % 8) return -1;
    memcpy(&literals->count, table, 4);
    memcpy(&literals->size, table + 4, 4);
    literals->bits = (const uint64_t *)(table + 8);
    literals->starts = (const uint32_t *)(table + 8 + SLOTS / 8);
    literals->words = (const literal_t *)(table + TABLE_HEAD);
    literals->bytes = (const uint8_t *)(literals->words + literals->count);
    if (size != (int64_t)(TABLE_HEAD + (int64_t)literals->count * (int64_t)sizeof(literal_t) + literals->size)) return -1;
    for (int slot = 0; slot < SLOTS; slot++)
        if (literals->starts[slot] > literals->starts[slot + 1]) return -1;
    if (literals->starts[SLOTS] != literals->count) return -1;
    for (uint32_t word = 0; word < literals->count; word++) {
        const literal_t *literal = &literals->words[word];
        if (literal->size < SHORTEST_LITERAL || literal->text > literals->size ||
            literal->size > literals->size - literal->text)
            return -1;
    }
    return 0;
}

/* ---- assigned.py ---- */

#define LONGEST_VALUE 128
#define LONGEST_BLOCK 16384

static void find_key(scan_t *scan, int64_t place, const literal_t *literal) {
    const text_t *text = &scan->text;
    int before = at(text, place - 1);
    if ((byte_class[before] & C_IDENTIFIER) || before == '-') return;
    int64_t start = place + literal->size, end = start;
    while ((charset_bits[at(text, end)] >> literal->argument & 1) && end - start <= literal->most) end++;
    while (end > start && at(text, end - 1) == '.') end--;
    if (end - start < literal->fewest || end - start > literal->most || !no_identifier(text, end)) return;
    int digits = 0;
    for (int64_t digit = start; digit < end; digit++) digits += is_digit(text, digit);
    if (digits >= literal->digits) add(scan, KEY, place, end);
}

static int64_t base64url_end(const text_t *text, int64_t place) {
    while (charset_bits[at(text, place)] & 4) place++;
    return place;
}

static void find_web_token(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    if (!no_identifier(text, place - 1)) return;
    int64_t part = base64url_end(text, place + 3);
    if (part - place < 10 || at(text, part) != '.') return;
    int64_t end = base64url_end(text, part + 1);
    if (end - part - 1 < 10) return;
    int more = 0;
    while (more < 3 && at(text, end) == '.' && base64url_end(text, end + 1) > end + 1) {
        end = base64url_end(text, end + 1);
        more++;
    }
    if (more) add(scan, KEY, place, end);
}

static int64_t find_bytes(const text_t *text, const char *bytes, int64_t from, int64_t to) {
    int64_t end = to < text->size ? to : text->size;
    if (end <= from) return -1;
    const uint8_t *found = memmem(text->data + from, (size_t)(end - from), bytes, strlen(bytes));
    return found ? found - text->data : -1;
}

/* Read `BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----` and return its end, or -1. */
static int64_t begin_end(const text_t *text, int64_t place) {
    place += 6;
    for (int word = 0; word <= 3; word++) {
        if (equals(text, place, "PRIVATE KEY", 11)) {
            int64_t end = place + 11;
            if (equals(text, end, " BLOCK-----", 11)) return end + 11;
            if (equals(text, end, "-----", 5)) return end + 5;
        }
        int64_t end = place;
        while (class_at(text, end) & (C_UPPER | C_DIGIT)) end++;
        if (end == place || at(text, end) != ' ') return -1;
        place = end + 1;
    }
    return -1;
}

static void find_private_key(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    if (!equals(text, place - 5, "-----", 5) || at(text, place + 5) != ' ') return;
    int64_t body = begin_end(text, place), end;
    if (body < 0) return;
    int64_t last = find_bytes(text, "-----END", body, body + LONGEST_BLOCK);
    if (last >= 0) {
        int64_t close = find_bytes(text, "-----", last + 8, last + 72);
        end = close >= 0 ? close + 5 : last;
    } else {
        last = body;
        while (last - body < LONGEST_BLOCK && last < text->size) {
            int byte = text->data[last];
            if (!(byte_class[byte] & C_ALNUM) && !one_of(byte, "+/=\\ \t\n\r\f\v")) break;
            last++;
        }
        end = last;
    }
    int written = 0;
    for (int64_t byte = body; byte < last; byte++) written += (class_at(text, byte) & C_ALNUM) != 0;
    if (written >= 40) add(scan, KEY, place - 5, end);
}

typedef struct {
    int64_t place;
    int tight, sure;
} assigned_t;

static int64_t spaces_end(const text_t *text, int64_t place) {
    int64_t start = place;
    while (place - start < 8 && (at(text, place) == ' ' || at(text, place) == '\t')) place++;
    return place;
}

/* The sign of an assignment at `place`: 1 a plain one, 2 a wide one, 3 a word; 0 none. `end` is after it. */
static int sign_at(const text_t *text, int64_t place, int64_t *end) {
    int first = at(text, place), then = at(text, place + 1);
    if (first == ':' || first == '=') {
        *end = place + 2;
        if (first == ':' ? then == '=' : then == '>' || then == '=') return 1;
        *end = place + 1;
        return !(first == ':' && then == ':');
    }
    static const char *const wide_signs[] = {"\xef\xbc\x9a", "\xef\xbc\x9d", "\xe6\x98\xaf", "\xe4\xb8\xba"};
    for (int sign = 0; sign < 4; sign++)
        if (equals(text, place, wide_signs[sign], 3)) {
            *end = place + 3;
            return 2;
        }
    static const char *const words[] = {"is", "ist", "est", "was", "lautet"};
    for (int word = 0; word < 5; word++) {
        int64_t size = (int64_t)strlen(words[word]), after = place + size;
        if (!equals(text, place, words[word], size)) continue;
        if (equals(text, after, " : ", 3))
            *end = after + 3;
        else if (equals(text, after, ": ", 2))
            *end = after + 2;
        else if (at(text, after) == ' ')
            *end = after + 1;
        else
            continue;
        return 3;
    }
    return 0;
}

static int assigned(const text_t *text, int64_t word, int64_t place, assigned_t *found) {
    for (int digits = 0; digits < 3 && is_digit(text, place); digits++) place++;
    if (!no_identifier(text, place) || (at(text, place) == '-' && (class_at(text, place + 1) & C_ALNUM))) return 0;
    if (at(text, place) == '>' && at(text, word - 1) == '<') {
        *found = (assigned_t){place + 1, 0, 1};
        return 1;
    }
    int64_t closed = place, end = place;
    while (closed - place < 4 && one_of(at(text, closed), "\"'`*])\\")) closed++;
    int64_t spaced = spaces_end(text, closed);
    int sign = sign_at(text, spaced, &end);
    if (!sign || (sign == 3 && spaced == place)) {
        int option = equals(text, word - 2, "--", 2) && spaced > place;
        int quoted = spaced > place && closed == place && (at(text, spaced) == '"' || at(text, spaced) == '\'');
        *found = (assigned_t){spaced, 0, quoted};
        return option || quoted;
    }
    int64_t value = spaces_end(text, end);
    if (equals(text, value, "**", 2)) value = spaces_end(text, value + 2);
    int tight = sign == 1 && end - spaced == 1 && at(text, spaced) == '=' && spaced == closed && value == end;
    *found = (assigned_t){value, tight, sign == 2};
    return 1;
}

static int next_parameter(const text_t *text, int64_t place) {
    int64_t start = place;
    while (place - start <= 32 && (class_at(text, place) & C_IDENTIFIER)) place++;
    return place > start && at(text, place) == '=';
}

/* The value at `place`, from `start` to `end`. */
static int value_at(const text_t *text, int64_t place, int64_t *start, int64_t *end, int *quoted) {
    int first = at(text, place), then = at(text, place + 1);
    int escaped = first == '\\' && (then == '"' || then == '\'');
    int curly = equals(text, place, "\xe2\x80\x9c", 3);
    *quoted = one_of(first, "\"'`") || escaped || curly;
    if (*quoted) {
        int64_t opening = escaped ? 2 : curly ? 3 : 1;
        char closing[4] = {(char)first, escaped ? (char)then : 0, 0, 0};
        if (curly) memcpy(closing, "\xe2\x80\x9d", 3);
        *start = place + opening;
        *end = find_bytes(text, closing, *start, *start + LONGEST_VALUE + opening);
        if (*end < 0) return 0;
        for (int64_t byte = *start; byte < *end; byte++)
            if (text->data[byte] <= 0x20) return 0;
        return 1;
    }
    int64_t stop = place;
    while (!(class_at(text, stop) & C_STOP) && stop - place <= LONGEST_VALUE) {
        if (at(text, stop) == '&' && next_parameter(text, stop + 1)) break;
        stop++;
    }
    for (; stop > place; stop--) {
        int last = at(text, stop - 1);
        int opening = last == ')' ? '(' : last == ']' ? '[' : last == '}' ? '{' : 0;
        int unbalanced = opening && memchr(text->data + place, opening, (size_t)(stop - 1 - place)) == NULL;
        if (last != '.' && last != ':' && !unbalanced) break;
    }
    *start = place;
    *end = stop;
    return 1;
}

static int in_name(int byte) { return (byte_class[byte] & C_LETTER) || one_of(byte, "_.-"); }

/* Up to two signs, letters and `_.-`, up to two signs: a word, not a password. */
static int word_with_signs(const text_t *text, int64_t start, int64_t end) {
    for (int64_t from = start; from <= start + 2 && from <= end; from++) {
        if (from > start && (class_at(text, from - 1) & C_ALNUM)) return 0;
        int64_t to = from;
        while (to < end && in_name(at(text, to))) to++;
        for (;; to--) {
            int signs = end - to <= 2;
            for (int64_t sign = to; signs && sign < end; sign++) signs = !(class_at(text, sign) & C_ALNUM);
            if (signs) return 1;
            if (to == from || end - to > 2) break;
        }
    }
    return 0;
}

/* [A-Za-z_][A-Za-z_.]{2,}, an opening parenthesis or bracket, and nothing but a call's arguments. */
static int call_at(const text_t *text, int64_t start, int64_t end) {
    int64_t place = start;
    while (place < end && ((class_at(text, place) & (C_LETTER | C_UNDERSCORE)) || (place > start && at(text, place) == '.')))
        place++;
    if (place - start < 3 || place == end || !one_of(at(text, place), "([")) return 0;
    while (place < end && ((class_at(text, place) & C_IDENTIFIER) || one_of(at(text, place), ".=()[]"))) place++;
    return place == end;
}

/* Names of letters, digits and underscores, joined by dots or hyphens. */
static int is_name(const text_t *text, int64_t start, int64_t end) {
    int begins_part = 1;
    for (int64_t place = start; place < end; place++) {
        int class = class_at(text, place);
        if (begins_part ? !(class & (C_LETTER | C_UNDERSCORE)) : !(class & C_IDENTIFIER)) {
            if (begins_part || !one_of(at(text, place), ".-")) return 0;
            begins_part = 1;
        } else
            begins_part = 0;
    }
    return start < end && !begins_part;
}

static void find_password(scan_t *scan, int64_t word, int64_t place) {
    const text_t *text = &scan->text;
    assigned_t to;
    int64_t start, end;
    int quoted;
    if (!assigned(text, word, place, &to) || !value_at(text, to.place, &start, &end, &quoted)) return;
    int64_t size = end - start;
    if (size < 5 || size > LONGEST_VALUE) return;
    int digits = 0, letters = 0, upper = 0, symbols = 0, differ = 0;
    for (int64_t byte = start; byte < end; byte++) {
        int class = class_at(text, byte);
        digits += (class & C_DIGIT) != 0;
        letters += (class & C_LETTER) != 0;
        upper += (class & C_UPPER) != 0;
        symbols += one_of(at(text, byte), "!@#$%^&?~+*");
        differ |= at(text, byte) != at(text, start);
    }
    if (!differ || listed(text, start, size, scan->lists, PLACEHOLDERS)) return;
    static const char *const starts[] = {"${", "$(", "%(", "{{", "{%", "&lt;", "/", "./", "~/"};
    for (int known = 0; known < 9; known++)
        if ((int64_t)strlen(starts[known]) <= size && equals(text, start, starts[known], (int64_t)strlen(starts[known])))
            return;
    if (find_bytes(text, "://", start, end) >= 0) return;
    int first = at(text, start), last = at(text, end - 1);
    if ((first == '{' && last == '}') || (first == '[' && last == ']') || (first == '%' && last == '%')) return;
    if ((!quoted && call_at(text, start, end)) || word_with_signs(text, start, end)) return;
    if (first == '$' && !is_digit(text, start + 1)) {
        int64_t name = start + 1;
        while (name < end && (class_at(text, name) & (C_UPPER | C_DIGIT | C_UNDERSCORE))) name++;
        if (name == end) return;
    }
    if (equals(text, start, "__", 2) && equals(text, end - 2, "__", 2)) return;
    int good;
    if (digits == 0)
        good = symbols && letters;
    else if (digits == size)
        good = digits >= 6;
    else
        good = quoted || to.tight || to.sure || !(digits == 1 && !upper && is_name(text, start, end));
    if (good) add(scan, PASSWORD, start, end);
}

static int case_of(int byte) {
    int class = byte_class[byte];
    return class & C_LOWER ? 0 : class & C_UPPER ? 1 : class & C_DIGIT ? 2 : 3;
}

static void find_random_value(scan_t *scan, int64_t place, int fewest) {
    const text_t *text = &scan->text;
    int64_t end = place;
    while (end - place < 513 && ((class_at(text, end) & C_IDENTIFIER) || one_of(at(text, end), "+/=.~-"))) end++;
    while (end > place && one_of(at(text, end - 1), ".-/~")) end--;
    int64_t size = end - place;
    int after = at(text, end);
    if (size < fewest || size > 512 || after == '(' || after == '[' || (byte_class[after] & C_IDENTIFIER)) return;
    int digits = 0, letters = 0, turns = 0, distinct = 0;
    uint8_t seen[128] = {0};
    for (int64_t byte = place; byte < end; byte++) {
        int here = text->data[byte];
        digits += (byte_class[here] & C_DIGIT) != 0;
        letters += (byte_class[here] & C_LETTER) != 0;
        turns += byte > place && case_of(here) != case_of(text->data[byte - 1]);
        distinct += !seen[here];
        seen[here] = 1;
    }
    if (letters < 2 || distinct < (fewest - 2 < 8 ? fewest - 2 : 8)) return;
    if (4 * digits >= size || ((digits > 0 || fewest < 16) && 3 * turns >= size)) add(scan, KEY, place, end);
}

static void find_secret(scan_t *scan, int64_t word, int64_t place) {
    const text_t *text = &scan->text;
    assigned_t to;
    if (!assigned(text, word, place, &to)) return;
    int64_t start = to.place;
    if (one_of(at(text, start), "\"'`"))
        start += 1;
    else if (at(text, start) == '\\' && (at(text, start + 1) == '"' || at(text, start + 1) == '\''))
        start += 2;
    static const char *const schemes[] = {"earer ", "oken ", "asic "};
    static const char firsts[] = "BTB";
    for (int scheme = 0; scheme < 3; scheme++) {
        int64_t size = (int64_t)strlen(schemes[scheme]);
        int first = at(text, start);
        if ((first == firsts[scheme] || first == firsts[scheme] + 32) && equals(text, start + 1, schemes[scheme], size)) {
            find_random_value(scan, start + 1 + size, scheme == 2 ? 8 : 16);
            return;
        }
    }
    find_random_value(scan, start, 16);
}

static void find_document(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    for (int64_t start = place; start < place + 32 && at(text, start) != '\n'; start++) {
        if (!(class_at(text, start) & C_UPPER) || !no_identifier(text, start - 1)) continue;
        int64_t end = start;
        while (end - start <= 10 && (class_at(text, end) & (C_UPPER | C_DIGIT))) end++;
        int size = (int)(end - start);
        if (size < 8 || size > 10 || !no_identifier(text, end)) continue;
        const char *number = (const char *)text->data + start;
        int letters = 1 + ((byte_class[(uint8_t)number[1]] & C_UPPER) != 0);
        int digits = 0, fits = 1;
        for (int byte = 0; byte < size; byte++) {
            int digit = all_digits(number + byte, 1);
            digits += digit;
            fits &= digit || id_card_letter(number[byte]);
        }
        if (all_digits(number + letters, size - letters) && (size - letters == 7 || size - letters == 8))
            add(scan, PASSPORT, start, end);
        else if ((size == 9 && fits && digits >= 3) || (size == 10 && de_id_card(number)))
            add(scan, DE_CARD, start, end);
        return;
    }
}

/* Whether what is beside a word is as the Where of literals.py wants it. */
static int stands(const text_t *text, int64_t start, int64_t end, int where) {
    int after = at(text, end), further = at(text, end + 1);
    switch (where) {
    case 1: return (byte_class[after] & C_DIGIT) != 0;
    case 2:
        if (after != ' ' && after != '-') return 0;
        return (byte_class[further] & C_UPPER) || further >= 0xC3 || (after == ' ' && one_of(further, "vdlzb"));
    case 3: {
        int spaces = after == ' ' ? 1 + (further == ' ') : 0;
        return at(text, start - 1) == ' ' && one_of(at(text, end + spaces), ";,|\t\n\"'");
    }
    case 4: {
        int skipped = after == 0xC2 && further == 0xA0 ? 2 : after == ' ';
        return at(text, end + skipped) == ':';
    }
    default: return 1;
    }
}

static void after_literal(scan_t *scan, int64_t place, const literal_t *literal) {
    int64_t end = place + literal->size;
    switch (literal->act) {
    case REPORT:
        if (stands(&scan->text, place, end, literal->digits))
            rows_add(scan->reports, scan->number, place, end, literal->argument);
        break;
    case ACT_KEY: find_key(scan, place, literal); break;
    case ACT_TOKEN: find_web_token(scan, place); break;
    case ACT_BLOCK: find_private_key(scan, place); break;
    case ACT_PASSWORD: find_password(scan, place, end); break;
    case ACT_SECRET: find_secret(scan, place, end); break;
    case ACT_BEARER: find_random_value(scan, end, 16); break;
    case ACT_DOCUMENT: find_document(scan, end); break;
    }
}

#endif
