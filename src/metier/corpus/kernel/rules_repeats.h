/* What repeats in a text: tokens, lines and paragraphs as numbers, and n-grams of tokens.

   Equal things get equal numbers, verified and not only hashed, so the counts are exact. An n-gram is named by the pair
   of its first n-1 tokens' number and its last token's, which fits one 64-bit key. */
#ifndef METIER_RULES_REPEATS_H
#define METIER_RULES_REPEATS_H

#include "rules_text.h"

#define EMPTY UINT64_MAX
#define COUNTED_TOKENS (1u << 20)
#define COUNTED_LINES (1u << 20)

/* Keys with numbers, open addressing. `spare` is where it grows into. */
typedef struct {
    uint64_t key;
    uint32_t number;
} slot;

typedef struct {
    slot *slots, *spare;
    size_t slot_room, spare_room, mask, count;
} numbered;

/* Strings as numbers, in the order in which they are first seen; the keys are hashes. */
typedef struct {
    numbered keys;
    span *strings;
    uint32_t *times;
    size_t string_room, times_room, seen; /* seen: asked for, whether taken or not */
} strings;

static inline uint64_t mixed(uint64_t value) {
    value ^= value >> 32;
    value *= 0x9E3779B97F4A7C15u;
    return value ^ value >> 29;
}

static inline uint64_t hash_of(span text) {
    const uint8_t *at = text.from;
    size_t left = (size_t)(text.to - at);
    uint64_t hash = left * 0xD6E8FEB86659FD93u, word;
    for (; left >= 8; at += 8, left -= 8) {
        memcpy(&word, at, 8);
        hash = mixed(hash ^ word);
    }
    if (left >= 4) {
        uint32_t head, tail;
        memcpy(&head, at, 4);
        memcpy(&tail, at + left - 4, 4);
        return mixed(hash ^ ((uint64_t)head << 32 | tail));
    }
    if (left) hash ^= (uint64_t)at[0] << 16 | (uint64_t)at[left / 2] << 8 | at[left - 1];
    return mixed(hash);
}

static inline uint64_t key_of(span text) {
    uint64_t hash = hash_of(text);
    return hash - (hash == EMPTY);
}

static int emptied(slot **slots, size_t *room, size_t size) {
    if (!GROW(*slots, *room, size)) return 0;
    for (size_t at = 0; at < size; at++) (*slots)[at].key = EMPTY;
    return 1;
}

/* Empty a table, with room for about so many keys: a guess saves it from growing. */
static int reset(numbered *table, size_t expected) {
    size_t size = 256;
    while (size < 2 * expected) size *= 2;
    table->mask = size - 1;
    table->count = 0;
    return emptied(&table->slots, &table->slot_room, size);
}

static int strings_reset(strings *table, size_t expected) {
    table->seen = 0;
    return reset(&table->keys, expected);
}

static int widen(numbered *table) {
    size_t size = (table->mask + 1) * 2;
    if (!emptied(&table->spare, &table->spare_room, size)) return 0;
    for (size_t from = 0; from <= table->mask; from++) {
        if (table->slots[from].key == EMPTY) continue;
        size_t to = mixed(table->slots[from].key) & (size - 1);
        while (table->spare[to].key != EMPTY) to = (to + 1) & (size - 1);
        table->spare[to] = table->slots[from];
    }
    slot *old = table->slots;
    size_t old_room = table->slot_room;
    table->slots = table->spare, table->slot_room = table->spare_room;
    table->spare = old, table->spare_room = old_room;
    table->mask = size - 1;
    return 1;
}

/* Whether a string has a number; gives it. */
static inline int string_known(const strings *table, span text, uint32_t *number) {
    const numbered *keys = &table->keys;
    uint64_t hash = key_of(text);
    size_t size = (size_t)(text.to - text.from);
    for (size_t at = mixed(hash) & keys->mask; keys->slots[at].key != EMPTY; at = (at + 1) & keys->mask) {
        if (keys->slots[at].key != hash) continue;
        *number = keys->slots[at].number;
        span known = table->strings[*number];
        if ((size_t)(known.to - known.from) == size && !memcmp(known.from, text.from, size)) return 1;
    }
    return 0;
}

/* Give the number of a string and count it. Returns 1 if it is new, 0 if it was there, -1 if memory is out. */
static inline int string_number(strings *table, span text, uint32_t *number) {
    numbered *keys = &table->keys;
    if (keys->count * 2 > keys->mask && !widen(keys)) return -1;
    uint64_t hash = key_of(text);
    size_t size = (size_t)(text.to - text.from), at = mixed(hash) & keys->mask;
    for (; keys->slots[at].key != EMPTY; at = (at + 1) & keys->mask) {
        if (keys->slots[at].key != hash) continue;
        *number = keys->slots[at].number;
        span known = table->strings[*number];
        if ((size_t)(known.to - known.from) == size && !memcmp(known.from, text.from, size)) {
            table->times[*number]++;
            return 0;
        }
    }
    if (!GROW(table->strings, table->string_room, keys->count + 1)) return -1;
    if (!GROW(table->times, table->times_room, keys->count + 1)) return -1;
    *number = (uint32_t)keys->count++;
    table->strings[*number] = text;
    table->times[*number] = 1;
    keys->slots[at] = (slot){hash, *number};
    return 1;
}

/* Give the number of a pair of numbers. Returns 1 if it is new, 0 if it was there, -1 if memory is out. */
static inline int pair_number(numbered *table, uint32_t one, uint32_t other, uint32_t *number) {
    if (table->count * 2 > table->mask && !widen(table)) return -1;
    uint64_t key = (uint64_t)one << 32 | other;
    size_t at = mixed(key) & table->mask;
    for (; table->slots[at].key != EMPTY; at = (at + 1) & table->mask)
        if (table->slots[at].key == key) {
            *number = table->slots[at].number;
            return 0;
        }
    *number = (uint32_t)table->count++;
    table->slots[at] = (slot){key, *number};
    return 1;
}

static void numbered_free(numbered *table) { free(table->slots), free(table->spare); }
static void strings_free(strings *table) { numbered_free(&table->keys), free(table->strings), free(table->times); }

/* The tokens that n-grams are counted in, and working space for one length after another. */
typedef struct {
    strings tokens;
    uint32_t *numbers; /* of each token */
    uint64_t *chars;   /* before each token: count + 1 of them */
    size_t number_room, char_room, count;
    uint32_t *places, *grams; /* where n-grams stand that repeat, and their numbers */
    uint32_t *times, *first;  /* by number of the n-gram */
    size_t place_room, gram_room, times_room, first_room;
    numbered known;
} repeats;

static int repeats_reset(repeats *found, size_t bytes) {
    found->count = 0;
    if (!GROW(found->chars, found->char_room, 1)) return 0;
    found->chars[0] = 0;
    size_t expected = bytes / 16; /* a token has six bytes, and stands more than twice */
    return strings_reset(&found->tokens, expected < COUNTED_TOKENS / 4 ? expected : COUNTED_TOKENS / 4);
}

/* Take a token. Returns as string_number does; tokens after COUNTED_TOKENS are new, and not taken. */
static int repeats_add(repeats *found, span token, size_t chars) {
    size_t at = found->count;
    if (at >= COUNTED_TOKENS) return 1;
    if (!GROW(found->numbers, found->number_room, at + 1) || !GROW(found->chars, found->char_room, at + 2)) return -1;
    int is_new = string_number(&found->tokens, token, &found->numbers[at]);
    found->chars[at + 1] = found->chars[at] + chars;
    found->count += is_new >= 0;
    return is_new;
}

/* Keep of the `active` n-grams those that stand more than once; returns how many places are left. */
static size_t only_repeated(repeats *found, size_t active) {
    size_t left = 0;
    for (size_t at = 0; at < active; at++)
        if (found->times[found->grams[at]] > 1) {
            found->places[left] = found->places[at];
            found->grams[left++] = found->grams[at];
        }
    return left;
}

/* From repeated (n-1)-grams to repeated n-grams: an n-gram can repeat only where both of its (n-1)-grams do. */
static int lengthen(repeats *found, size_t n, size_t *active) {
    size_t made = 0;
    if (!reset(&found->known, *active / 2)) return 0;
    for (size_t at = 0; at + 1 < *active; at++) {
        uint32_t place = found->places[at], number;
        if (found->places[at + 1] != place + 1) continue;
        int is_new = pair_number(&found->known, found->grams[at], found->numbers[place + n - 1], &number);
        if (is_new < 0) return 0;
        if (is_new) {
            if (!GROW(found->times, found->times_room, (size_t)number + 1)) return 0;
            if (!GROW(found->first, found->first_room, (size_t)number + 1)) return 0;
            found->times[number] = 0;
            found->first[number] = place;
        }
        found->times[number]++;
        found->places[made] = place;
        found->grams[made++] = number;
    }
    *active = only_repeated(found, made);
    return 1;
}

static uint64_t chars_of(const repeats *found, size_t place, size_t n) {
    return found->chars[place + n] - found->chars[place];
}

/* Characters of the most frequent n-gram, all its places together; the first one where several are. */
static int64_t top_chars(const repeats *found, size_t n, size_t active) {
    size_t best = 0;
    uint32_t times = 1;
    for (size_t at = 0; at < active; at++) {
        uint32_t number = found->grams[at];
        if (found->times[number] > times || (found->times[number] == times && times > 1 && number < best)) {
            times = found->times[number];
            best = number;
        }
    }
    return times > 1 ? (int64_t)(times * chars_of(found, found->first[best], n)) : 0;
}

/* Characters of n-grams that stood before, those of overlapping ones once: the twin's _repeated. */
static int64_t duplicate_chars(repeats *found, size_t n, size_t active) {
    int64_t chars = 0;
    size_t free_from = 0;
    for (size_t at = 0; at < active; at++) found->times[found->grams[at]] = 0;
    for (size_t at = 0; at < active; at++) {
        uint32_t place = found->places[at], number = found->grams[at];
        if (place < free_from) continue;
        if (found->times[number]) {
            chars += (int64_t)chars_of(found, place, n);
            free_from = place + n;
        } else {
            found->times[number] = 1;
        }
    }
    return chars;
}

/* Fill `out` with top_2, top_3, top_4, duplicate_5 … duplicate_10, n-grams being `step` times as long. 0 if memory is
 * out. */
static int count_grams(repeats *found, size_t step, int64_t out[9]) {
    memset(out, 0, 9 * sizeof(*out));
    size_t active = 0;
    if (!GROW(found->places, found->place_room, found->count + 1)) return 0;
    if (!GROW(found->grams, found->gram_room, found->count + 1)) return 0;
    for (size_t at = 0; at < found->count; at++)
        if (found->tokens.times[found->numbers[at]] > 1) {
            found->places[active] = (uint32_t)at;
            found->grams[active++] = found->numbers[at];
        }
    for (size_t n = 2; n <= 10 * step && active; n++) {
        if (!lengthen(found, n, &active)) return 0;
        if (n % step) continue;
        size_t length = n / step;
        if (length >= 2)
            out[length - 2] = length <= 4 ? top_chars(found, n, active) : duplicate_chars(found, n, active);
    }
    return 1;
}

static void repeats_free(repeats *found) {
    strings_free(&found->tokens), numbered_free(&found->known);
    free(found->numbers), free(found->chars), free(found->places), free(found->grams);
    free(found->times), free(found->first);
}

#endif
