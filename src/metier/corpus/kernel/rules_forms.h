/* Which word forms a corpus knows: the compiled twin of rules_forms.py, which says what a form is. */
#ifndef METIER_RULES_FORMS_H
#define METIER_RULES_FORMS_H

#include "rules_prose.h"

#define TABLE_BITS 22
#define SHORTEST_FORM 2
#define LONGEST_FORM 40

/* Take the next form off a line; gives its place in the table. */
static int next_form(span *line, int64_t group, uint32_t *place) {
    while (line->from < line->to) {
        uint64_t hash = ((uint64_t)group + 1) * 0x9E3779B97F4A7C15u;
        size_t chars = 0, capitals = 0;
        int digits = 0, first_capital = 0;
        while (line->from < line->to) {
            uint32_t code, flags;
            int length = flagged(line->from, line->to, &code, &flags);
            if (!(flags & METIER_WORD) || flags & METIER_CJK) {
                if (!chars) line->from += length;
                break;
            }
            line->from += length;
            digits |= (flags & METIER_DIGIT) != 0;
            capitals += (flags & METIER_UPPER) != 0;
            first_capital |= !chars && flags & METIER_UPPER;
            chars++;
            hash = (hash ^ metier_lower(code)) * 0x100000001B3u;
        }
        if (chars < SHORTEST_FORM || chars > LONGEST_FORM || digits) continue;
        if (capitals && capitals != chars && (capitals > 1 || !first_capital)) continue;
        *place = (uint32_t)(((hash ^ hash >> 32) * 0x9E3779B97F4A7C15u) >> (64 - TABLE_BITS));
        return 1;
    }
    return 0;
}

/* Count document `number` (from 1) for each form in it; `last` is the last document that each place was counted for. */
static int learn_forms(span text, int64_t group, uint8_t *counts, uint32_t *last, uint32_t number, buffer *mended) {
    if (!mend(&text, mended)) return 0;
    line_reader reader = lines_of(text);
    while (reader.at) {
        span raw, bare;
        uint32_t place;
        if (next_line(&reader, &raw, &bare) != LINE_PROSE) continue;
        while (next_form(&bare, group, &place)) {
            if (last[place] == number) continue;
            last[place] = number;
            counts[place] += counts[place] < 255;
        }
    }
    return 1;
}

/* Fill `out` with the forms of a text, and those that `at_least` documents had. */
static int known_forms(span text, int64_t group, const uint8_t *counts, int64_t at_least, int64_t *out,
                       buffer *mended) {
    out[0] = out[1] = 0;
    if (!mend(&text, mended)) return 0;
    line_reader reader = lines_of(text);
    while (reader.at) {
        span raw, bare;
        uint32_t place;
        if (next_line(&reader, &raw, &bare) != LINE_PROSE) continue;
        while (next_form(&bare, group, &place)) {
            out[0]++;
            out[1] += counts[place] >= at_least;
        }
    }
    return 1;
}

#endif
