/* What the published rules measure of a text: the compiled twin of rules_prose.py, which says what each thing is. */
#ifndef METIER_RULES_PROSE_H
#define METIER_RULES_PROSE_H

#include "rules_lines.h"
#include "rules_repeats.h"

/* In the order of Measures in rules_prose.py; a test compares the names. */
#define MEASURES(X)                                                                                                   \
    X(chars)                                                                                                          \
    X(text_chars) X(prose_chars) X(tokens) X(words) X(cjk) X(word_chars) X(unspaced) X(lettered) X(single_letters)    \
        X(hashes) X(ellipses) X(lines) X(bullet_lines) X(ellipsis_lines) X(ended_lines) X(short_lines) X(line_chars)  \
            X(duplicate_lines) X(duplicate_line_chars) X(paragraphs) X(paragraph_chars) X(duplicate_paragraphs)       \
                X(duplicate_paragraph_chars) X(gram_chars) X(top_2) X(top_3) X(top_4) X(duplicate_5) X(duplicate_6)   \
                    X(duplicate_7) X(duplicate_8) X(duplicate_9) X(duplicate_10) X(c4_long_word) X(c4_no_end)         \
                        X(c4_few_words) X(c4_script) X(c4_policy) X(c4_kept) X(c4_lorem) X(c4_braces) X(c4_sentences) \
                            X(damaged) X(controls) X(odd) X(endless) X(stretched) X(latin) X(strange)
#define AS_ENUM(name) M_##name,
#define AS_NAME(name) #name " "
enum { MEASURES(AS_ENUM) MEASURE_COUNT };
static const char measure_names[] = MEASURES(AS_NAME);

#define LONGEST_STOP_WORD 64 /* bytes */
_Static_assert(METIER_UPPER == 0x20, "the flag of a capital is what makes it small in ASCII");

typedef struct {
    strings words;
    uint64_t *lists;                   /* by word: bit i is set if list i has it */
    uint32_t *seen;                    /* by word: the last text it was seen in */
    size_t count, list_count, longest; /* longest: bytes */
    uint32_t text;
} stop_words;

/* Working space for one text after another. */
typedef struct {
    line_rules rules;
    stop_words stops;
    repeats grams;
    strings lines, paragraphs;
    buffer mended, uncited;
} prose_work;

/* Characters in runs of five and more of the same letter, mark or number. */
static int64_t stretched_chars(span body) {
    int64_t chars = 0;
    size_t run = 0;
    uint32_t last = UINT32_MAX, code, flags, run_flags = 0;
    while (body.from < body.to) {
        /* Five of the same hold two of the same at one of any four places. */
        if (run <= 1 && body.to - body.from > 8) {
            const uint8_t *at = body.from;
            int ascii = !((at[0] | at[1] | at[2] | at[3] | at[4]) & 0x80);
            if (ascii && at[3] != at[4] && at[0] != last) {
                body.from += 3, run = 1, last = UINT32_MAX;
                continue;
            }
        }
        body.from += flagged(body.from, body.to, &code, &flags);
        if (code == last) {
            run++;
            continue;
        }
        if (run >= 5 && run_flags & METIER_WORD) chars += (int64_t)run;
        last = code, run_flags = flags, run = 1;
    }
    return run >= 5 && run_flags & METIER_WORD ? chars + (int64_t)run : chars;
}

/* Count the word among the stop words of each list that has it, once a text. */
static void count_stop_word(stop_words *stops, span word, int64_t *out) {
    uint8_t lower[LONGEST_STOP_WORD + 4];
    size_t size = 0;
    if ((size_t)(word.to - word.from) > stops->longest * 3)
        return; /* lower case takes a third of the bytes at the least */
    while (word.from < word.to) {
        uint32_t code;
        if (*word.from < 0x80) {
            lower[size++] = (uint8_t)(*word.from | (ascii_flags[*word.from] & METIER_UPPER));
            word.from++;
        } else {
            word.from += metier_decode(word.from, word.to, &code);
            size += (size_t)metier_encode(metier_lower(code), lower + size);
        }
        if (size > stops->longest) return;
    }
    uint32_t number;
    if (!string_known(&stops->words, (span){lower, lower + size}, &number) || stops->seen[number] == stops->text)
        return;
    stops->seen[number] = stops->text;
    for (size_t list = 0; list < stops->list_count; list++) out[list] += stops->lists[number] >> list & 1;
}

static int count_token(prose_work *work, const token *each, int64_t *out) {
    out[M_tokens]++;
    out[M_lettered] += (each->flags & LETTER) != 0;
    out[M_odd] += (int64_t)each->odd;
    out[M_hashes] += (int64_t)each->hashes;
    out[M_ellipses] += (int64_t)each->ellipses;
    int is_new = repeats_add(&work->grams, each->whole, each->chars);
    if (is_new < 0) return 0;
    if (!(each->flags & METIER_WORD)) return 1;
    if (is_new && work->stops.count) count_stop_word(&work->stops, each->word, out + MEASURE_COUNT);
    out[M_words]++;
    if (each->flags & METIER_CJK) {
        out[M_cjk]++;
        return 1;
    }
    out[M_word_chars] += (int64_t)each->word_chars;
    out[M_unspaced] += (int64_t)each->unspaced;
    out[M_single_letters] += each->word_chars == 1 && each->flags & LETTER;
    if (each->chars > LONGEST_WORD && !each->slash) out[M_endless] += (int64_t)each->chars;
    span latin;
    if (each->word_chars > 4 && latin_word(each->whole, &latin)) {
        out[M_latin]++;
        out[M_strange] += is_strange(latin);
    }
    return 1;
}

/* Count a line or paragraph that stood before. Returns 0 if memory is out. */
static int count_duplicate(strings *known, span text, int64_t chars, int64_t *duplicates, int64_t *duplicate_chars) {
    uint32_t number;
    if (known->seen++ >= COUNTED_LINES) return 1;
    int is_new = string_number(known, text, &number);
    *duplicates += is_new == 0;
    *duplicate_chars += is_new == 0 ? chars : 0;
    return is_new >= 0;
}

/* A run of prose; `lines` are those with a word in them. */
typedef struct {
    span text;
    size_t lines;
} paragraph;

static int close_paragraph(prose_work *work, paragraph *open, int64_t *out) {
    span text = stripped(open->text);
    size_t lines = open->lines;
    *open = (paragraph){{NULL, NULL}, 0};
    if (!lines) return 1;
    int64_t chars = (int64_t)chars_in(text);
    out[M_paragraphs]++;
    out[M_paragraph_chars] += chars;
    return count_duplicate(&work->paragraphs, text, chars, out + M_duplicate_paragraphs,
                           out + M_duplicate_paragraph_chars);
}

typedef struct {
    size_t words, cjk, longest;
} line_tokens;

static int count_line(prose_work *work, span bare, int bullet, line_tokens tokens, int64_t *out) {
    int64_t chars = (int64_t)chars_in(bare), sentences;
    int ended, ellipsis;
    ending(bare, &ended, &ellipsis);
    out[M_lines]++;
    out[M_bullet_lines] += bullet;
    out[M_ellipsis_lines] += ellipsis;
    out[M_ended_lines] += ended;
    out[M_short_lines] += chars + 3 * (int64_t)tokens.cjk <= work->rules.short_chars;
    out[M_line_chars] += chars;
    if (!count_duplicate(&work->lines, bare, chars, out + M_duplicate_lines, out + M_duplicate_line_chars)) return 0;
    int verdict =
        c4_verdict(&work->rules, &work->uncited, &bare, words_of(tokens.words, tokens.cjk), tokens.longest, &sentences);
    if (verdict < 0) return 0;
    out[M_c4_long_word + verdict]++;
    out[M_c4_sentences] += sentences;
    return 1;
}

/* Characters, white space and damage of the whole text, code and tables too. */
static void count_chars(span text, int64_t *out) {
    size_t chars = 0, spaces = 0, controls = 0, damaged = 0;
    const uint8_t *at = text.from;
    while (at < text.to) {
        if (*at < 0x80) {
            const uint8_t *behind = skip_ascii(at, text.to, &spaces, &controls);
            chars += (size_t)(behind - at);
            at = behind;
            if (at >= text.to) break;
        }
        uint32_t code, flags;
        int length = flagged(at, text.to, &code, &flags);
        if (length > 1) {
            int size;
            if (mojibake_at(at, text.to, 1, &size)) {
                /* The rest of a pattern is counted as characters below, and cannot begin another. */
                damaged++;
                for (const uint8_t *end = at + size; at < end; at += length) {
                    length = flagged(at, text.to, &code, &flags);
                    chars++;
                    spaces += (flags & METIER_SPACE) != 0;
                    controls += code >= 0x80 && code <= 0x9F && code != 0x85;
                }
                continue;
            }
        }
        chars++;
        spaces += (flags & METIER_SPACE) != 0;
        controls += code < 0x20 ? !(flags & METIER_SPACE) : code >= 0x7F && code <= 0x9F && code != 0x85;
        at += length;
    }
    out[M_chars] = (int64_t)chars;
    out[M_text_chars] = (int64_t)(chars - spaces);
    out[M_controls] = (int64_t)controls;
    out[M_damaged] = (int64_t)damaged;
}

/* Fill `out` with the measures of a text and the stop words of each list in it. Returns 0 if memory is out. */
static int measure_text(prose_work *work, span text, int64_t *out) {
    memset(out, 0, (MEASURE_COUNT + work->stops.list_count) * sizeof(*out));
    if (!mend(&text, &work->mended)) return 0;
    if (!repeats_reset(&work->grams, (size_t)(text.to - text.from))) return 0;
    if (!strings_reset(&work->lines, 0) || !strings_reset(&work->paragraphs, 0)) return 0;
    work->stops.text++;
    count_chars(text, out);
    line_reader reader = lines_of(text);
    paragraph open = {{NULL, NULL}, 0};
    while (reader.at) {
        span raw, bare;
        int heading = 0, bullet = 0, kind = next_line(&reader, &raw, &bare);
        if (kind == LINE_PROSE) {
            span body = without_mark(bare, &heading, &bullet), rest = body;
            line_tokens tokens = {0, 0, 0};
            token each;
            out[M_prose_chars] += (int64_t)solid_chars((span){bare.from, body.from});
            out[M_stretched] += stretched_chars(body);
            while (next_token(&rest, body, &each)) {
                out[M_prose_chars] += (int64_t)each.chars;
                tokens.words += (each.flags & METIER_WORD) != 0;
                tokens.cjk += (each.flags & METIER_CJK) != 0;
                if (each.chars > tokens.longest) tokens.longest = each.chars;
                if (!count_token(work, &each, out)) return 0;
            }
            if (!heading) {
                open.text = (span){open.text.from ? open.text.from : raw.from, raw.to};
                open.lines += tokens.words > 0;
                if (tokens.words && !count_line(work, bare, bullet, tokens, out)) return 0;
            }
        }
        if ((kind != LINE_PROSE || heading) && !close_paragraph(work, &open, out)) return 0;
    }
    if (!close_paragraph(work, &open, out)) return 0;
    out[M_gram_chars] = (int64_t)work->grams.chars[work->grams.count];
    return count_grams(&work->grams, 2 * out[M_cjk] > out[M_words] ? 2 : 1, out + M_top_2);
}

/* Append the lines that C4 keeps of a text, and its headings, code and tables; count the verdicts. 0 if memory is out.
 */
static int clean_text(prose_work *work, span text, buffer *out, int64_t *verdicts) {
    memset(verdicts, 0, C4_COUNT * sizeof(*verdicts));
    if (!mend(&text, &work->mended)) return 0;
    line_reader reader = lines_of(text);
    int blank = 0, begun = 0;
    while (reader.at) {
        span raw, bare;
        int heading = 0, bullet = 0, kind = next_line(&reader, &raw, &bare);
        if (kind == LINE_BLANK) {
            blank = 1;
            continue;
        }
        span kept = raw;
        if (kind == LINE_PROSE) {
            span body = without_mark(bare, &heading, &bullet), rest = body, line = bare;
            line_tokens tokens = {0, 0, 0};
            token each;
            while (next_token(&rest, body, &each)) {
                tokens.words += (each.flags & METIER_WORD) != 0;
                tokens.cjk += (each.flags & METIER_CJK) != 0;
                if (each.chars > tokens.longest) tokens.longest = each.chars;
            }
            if (!heading) {
                int64_t sentences;
                int verdict = c4_verdict(&work->rules, &work->uncited, &line, words_of(tokens.words, tokens.cjk),
                                         tokens.longest, &sentences);
                if (verdict < 0) return 0;
                if (tokens.words) verdicts[verdict]++;
                if (!tokens.words || (verdict != C4_KEPT && verdict != C4_LOREM && verdict != C4_BRACES)) continue;
                if (line.from != bare.from) kept = line;
            }
        }
        if (begun && !append(out, "\n\n", blank ? 2 : 1)) return 0;
        if (!append(out, kept.from, (size_t)(kept.to - kept.from))) return 0;
        begun = 1, blank = 0;
    }
    return 1;
}

static void prose_free(prose_work *work) {
    strings_free(&work->stops.words), free(work->stops.lists), free(work->stops.seen);
    repeats_free(&work->grams), strings_free(&work->lines), strings_free(&work->paragraphs);
    free(work->mended.data), free(work->uncited.data);
}

#endif
