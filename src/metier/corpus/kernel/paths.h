/* The instruction sets: the functions of tokens.h once for each, and which of them this processor runs. */
#ifndef METIER_PATHS_H
#define METIER_PATHS_H

#include "text.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define K0 0x9E3779B97F4A7C15ull /* odd, with bits set and unset throughout; also in shingle_python.py */
#define K1 0xC2B2AE3D27D4EB4Full
#define K2 0xD6E8FEB86659FD93ull
#define K3 0xA0761D6478BD642Full
#define MOST_WIDTH 64
#define MOST_BINS 1024
#define EMPTY_BIN UINT32_MAX
#define WINDOW 8192 /* bytes of lower-case text at a time: with its tokens and hashes it stays in the L2 cache */
#define SLACK 128

static inline uint64_t rotate(uint64_t x, int by) { return x << (by & 63) | x >> (-by & 63); }

static inline uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= K2;
    return x ^ x >> 29;
}

static inline uint64_t load_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void store_word(uint8_t *at, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

/* What of two words belongs to a block of n bytes. */
#define LOW(n) ((n) <= 0 ? 0ull : (n) >= 8 ? ~0ull : ~0ull >> (64 - 8 * (n)))
#define MASK(n) {LOW(n), LOW((n) - 8)}
static const uint64_t MASKS[17][2] = {MASK(0),  MASK(1),  MASK(2),  MASK(3),  MASK(4),  MASK(5),
                                      MASK(6),  MASK(7),  MASK(8),  MASK(9),  MASK(10), MASK(11),
                                      MASK(12), MASK(13), MASK(14), MASK(15), MASK(16)};

static _Alignas(64) uint8_t PLACES[64]; /* 0, 1, … 63 */

/* A text on its way through, WINDOW bytes at a time: memory does not grow with it, nor with the longest token. */
typedef struct {
    const uint8_t *at, *end;        /* what of the text is left */
    size_t tokens, carried, total;  /* tokens complete in this window, hashes kept from before, tokens so far */
    uint32_t filled, open;          /* bytes in `lower`; whether the last token goes on in the next window */
    uint64_t begun;                 /* hash of that part of the first token that was in earlier windows */
    uint32_t starts[WINDOW + SLACK], ends[WINDOW + SLACK]; /* of tokens, in `lower`: at most one a byte */
    uint64_t hashes[WINDOW + SLACK + MOST_WIDTH]; /* of tokens: `carried` old ones, then those of this window */
    uint64_t shingles[WINDOW + SLACK + MOST_WIDTH];
    uint8_t lower[WINDOW + 2 * SLACK]; /* the tokens in lower case */
} window;

#define METIER_PATH portable
#define METIER_TARGET
#include "tokens.h"

#if defined(__x86_64__)
#define METIER_PATH avx2
#define METIER_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define METIER_AVX2
#include "tokens.h"
#undef METIER_AVX2

#define METIER_PATH avx512
#define METIER_TARGET \
    __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")))
#define METIER_AVX512
#include "tokens.h"
#undef METIER_AVX512
#endif

typedef struct {
    const char *name;
    void (*fill)(window *);
    uint64_t (*hash_token)(uint64_t, const uint8_t *, size_t);
    void (*hash_tokens)(const window *, uint64_t *);
    void (*hash_shingles)(const uint64_t *, size_t, int, uint64_t *);
    void (*count_bits)(const uint64_t *, size_t, uint64_t *);
    void (*stripes)(uint64_t *, const uint8_t *, size_t);
    size_t (*collapse)(const uint8_t *, uint64_t *, uint8_t *, uint64_t *);
    void (*again)(const uint64_t *, size_t, uint64_t, uint64_t *);
    void (*pour)(const uint64_t *, size_t, uint64_t, uint32_t *);
    int (*refill)(const uint64_t *, size_t, uint64_t, uint32_t *, uint32_t *);
    uint16_t (*alike)(const uint8_t *, const uint8_t *, size_t);
} path;

#define PATH(name)                                                                                        \
    {#name,          fill_##name,     hash_token_##name, hash_tokens_##name, hash_shingles_##name, \
     count_bits_##name, stripes_##name, collapse_##name,   again_##name,       pour_##name,          \
     refill_##name,  alike_##name}
static const path PATHS[] = {
    PATH(portable),
#if defined(__x86_64__)
    PATH(avx2),
    PATH(avx512),
#endif
};
static const path *chosen = &PATHS[0];

static int available(const char *name) {
#if defined(__x86_64__)
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (!strcmp(name, "avx512"))
        return available("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
#endif
    return !strcmp(name, "portable");
}

#endif
