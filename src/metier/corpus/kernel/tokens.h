/* From UTF-8 text to hashes of its word shingles, a window at a time, and other loops in which instruction sets differ.
   Included by paths.h once for each of them.

   The including file defines METIER_PATH, the suffix of every function here; METIER_TARGET, their attribute; and
   METIER_AVX512 or METIER_AVX2 where those instructions may be used. What is computed is the same on every path, and
   the same as in shingle_python.py:

   - Tokens are runs of WORD characters in lower case; a CJK character is a token of its own.
   - A token's hash: its UTF-8 in blocks of 16 bytes, the last filled up with zeros (which no token holds), each block
     two little-endian words; hash = mix(hash ^ word0 * K0 ^ rotate(word1 * K1, 32)), beginning with 0.
     For tokens of up to 8 bytes this is one-to-one.
   - A shingle's hash: mix of the exclusive or of its tokens' hashes, the k-th rotated by 13 k.

   mix(x): x ^= x >> 32; x *= K2; x ^= x >> 29. Not meant against an adversary who seeks collisions. */

#define METIER_JOIN_(name, path) name##_##path
#define METIER_JOIN(name, path) METIER_JOIN_(name, path)
#define NAME(name) METIER_JOIN(name, METIER_PATH)

/* Look at up to 64 bytes: store them, A-Z in lower case, at `out` (which has room for 64), and return which of them are
   ASCII letters or digits, bit 0 the first. `*high` gets those that are not ASCII. */
METIER_TARGET static inline uint64_t NAME(block)(const uint8_t *at, size_t left, uint8_t *out, uint64_t *high) {
#if defined(METIER_AVX512)
    __m512i bytes = left >= 64 ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi8(~0ull >> (64 - left), at);
    *high = _mm512_movepi8_mask(bytes);
    __mmask64 upper = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8('A')), _mm512_set1_epi8(26));
    __m512i low = _mm512_mask_add_epi8(bytes, upper, bytes, _mm512_set1_epi8(32));
    _mm512_storeu_si512(out, low);
    return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(low, _mm512_set1_epi8('a')), _mm512_set1_epi8(26)) |
           _mm512_cmplt_epu8_mask(_mm512_sub_epi8(low, _mm512_set1_epi8('0')), _mm512_set1_epi8(10));
#elif defined(METIER_AVX2)
    uint8_t tail[64] = {0};
    if (left < 64) at = memcpy(tail, at, left);
    uint64_t word = 0;
    *high = 0;
    for (int half = 0; half < 64; half += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(at + half));
        *high |= (uint64_t)(uint32_t)_mm256_movemask_epi8(bytes) << half;
        /* Signed comparison: bytes that are not ASCII are negative, and so in none of the ranges. */
        __m256i upper = _mm256_and_si256(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8('A' - 1)),
                                         _mm256_cmpgt_epi8(_mm256_set1_epi8('Z' + 1), bytes));
        __m256i low = _mm256_or_si256(bytes, _mm256_and_si256(upper, _mm256_set1_epi8(32)));
        __m256i letter = _mm256_and_si256(_mm256_cmpgt_epi8(low, _mm256_set1_epi8('a' - 1)),
                                          _mm256_cmpgt_epi8(_mm256_set1_epi8('z' + 1), low));
        __m256i digit = _mm256_and_si256(_mm256_cmpgt_epi8(low, _mm256_set1_epi8('0' - 1)),
                                         _mm256_cmpgt_epi8(_mm256_set1_epi8('9' + 1), low));
        _mm256_storeu_si256((__m256i *)(out + half), low);
        word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_or_si256(letter, digit)) << half;
    }
    return word;
#else
    /* Eight bytes at a time in one register; the top bit of each byte answers for it. */
    const uint64_t tops = 0x8080808080808080ull, ones = 0x0101010101010101ull;
    uint8_t tail[64] = {0};
    if (left < 64) at = memcpy(tail, at, left);
    uint64_t word = 0;
    *high = 0;
    for (int part = 0; part < 64; part += 8) {
        uint64_t bytes = load_word(at + part), ascii = bytes & ~tops;
        uint64_t upper = (ascii + (0x80 - 'A') * ones) & ~(ascii + (0x80 - 'Z' - 1) * ones) & ~bytes & tops;
        uint64_t low = ascii | upper >> 2;
        uint64_t letter = (low + (0x80 - 'a') * ones) & ~(low + (0x80 - 'z' - 1) * ones);
        uint64_t digit = (low + (0x80 - '0') * ones) & ~(low + (0x80 - '9' - 1) * ones);
        store_word(out + part, low);
        /* The multiplication brings the eight top bits together in the highest byte. */
        word |= (((letter | digit) & ~bytes & tops) >> 7) * 0x0102040810204080ull >> 56 << part;
        *high |= ((bytes & tops) >> 7) * 0x0102040810204080ull >> 56 << part;
    }
    return word;
#endif
}

/* Append `base` + the place of every bit of `mask`, at most 32 of them, and return the new end. May write 32 places. */
METIER_TARGET static inline uint32_t *NAME(append)(uint32_t *out, uint64_t mask, uint32_t base) {
    int count = __builtin_popcountll(mask);
#if defined(METIER_AVX512)
    __m512i places = _mm512_maskz_compress_epi8(mask, _mm512_load_si512(PLACES)), from = _mm512_set1_epi32((int)base);
    _mm512_storeu_si512(out, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places))));
    if (__builtin_expect(count > 16, 0)) {
        __m128i more = _mm512_extracti32x4_epi32(places, 1);
        _mm512_storeu_si512(out + 16, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(more)));
    }
#else
    /* Eight at a time whether they are there or not: fewer branches that the processor cannot foresee. */
    for (int at = 0; at < count; at += 8) {
        for (int next = at; next < at + 8; next++) {
            out[next] = base + (uint32_t)__builtin_ctzll(mask | 1ull << 63);
            mask &= mask - 1;
        }
    }
#endif
    return out + count;
}

/* Fill the window from the text, and leave complete tokens in `starts` and `ends`. */
METIER_TARGET static void NAME(fill)(window *w) {
    const uint8_t *at = w->at, *end = w->end;
    uint32_t *starts = w->starts + w->open, *ends = w->ends;
    uint64_t open = w->open;
    uint32_t fill = w->filled, limit = WINDOW;
    while (at < end && fill < limit) {
        uint64_t high, size = end - at < 64 ? (uint64_t)(end - at) : 64;
        uint64_t word = NAME(block)(at, size, w->lower + fill, &high);
        if (__builtin_expect(high != 0, 0)) size = (uint64_t)__builtin_ctzll(high);
        if (size) {
            uint64_t valid = ~0ull >> (64 - size), before;
            word &= valid;
            before = word << 1 | open;
            starts = NAME(append)(starts, word & ~before, fill);
            ends = NAME(append)(ends, ~word & before & valid, fill);
            open = word >> (size - 1) & 1;
            at += size, fill += (uint32_t)size;
        }
        if (__builtin_expect(high == 0, 1)) continue;
        /* One character at a time, until ASCII has come back to stay. */
        while (at < end && fill < limit && (*at >= 0x80 || end - at < 8 || load_word(at) & 0x8080808080808080ull)) {
            uint32_t code;
            at += metier_decode(at, end, &code);
            uint32_t about = metier_record(code), flags = metier_record_flags[about];
            if (open && (flags & (METIER_WORD | METIER_CJK)) != METIER_WORD) *ends++ = fill, open = 0;
            if (!(flags & METIER_WORD)) continue;
            if (!open) *starts++ = fill;
            fill += (uint32_t)metier_encode(code + (uint32_t)metier_record_lower[about], w->lower + fill);
            open = !(flags & METIER_CJK);
            if (!open) *ends++ = fill;
        }
    }
    if (at == end && open) *ends++ = fill, open = 0;
    w->at = at, w->filled = fill, w->open = (uint32_t)open, w->tokens = (size_t)(ends - w->ends);
}

/* Go on hashing a token from `hash`, which is 0 at its beginning. */
METIER_TARGET static uint64_t NAME(hash_token)(uint64_t hash, const uint8_t *token, size_t size) {
    for (size_t at = 0; at < size; at += 16) {
        const uint64_t *masks = MASKS[size - at < 16 ? size - at : 16];
        uint64_t first = load_word(token + at) & masks[0], second = load_word(token + at + 8) & masks[1];
        hash = mix(hash ^ first * K0 ^ rotate(second * K1, 32));
    }
    return hash;
}

#if defined(METIER_AVX512)
/* Return the hashes of four tokens of up to 16 bytes, before they are mixed, each in two lanes. */
METIER_TARGET static inline __m512i NAME(four_tokens)(const uint8_t *lower, const uint32_t *starts, __m128i sizes) {
    const __m128i places = _mm_set_epi64x(0x0F0E0D0C0B0A0908, 0x0706050403020100);
    const __m512i by_place = _mm512_broadcast_i32x4(places);
    const __m512i of_lane = _mm512_set_epi32(0x0C0C0C0C, 0x0C0C0C0C, 0x0C0C0C0C, 0x0C0C0C0C, 0x08080808, 0x08080808,
                                             0x08080808, 0x08080808, 0x04040404, 0x04040404, 0x04040404, 0x04040404,
                                             0, 0, 0, 0);
    const __m512i factors = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)K1, (long long)K0));
    __m512i text = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(lower + starts[0])));
    text = _mm512_inserti32x4(text, _mm_loadu_si128((const __m128i *)(lower + starts[1])), 1);
    text = _mm512_inserti32x4(text, _mm_loadu_si128((const __m128i *)(lower + starts[2])), 2);
    text = _mm512_inserti32x4(text, _mm_loadu_si128((const __m128i *)(lower + starts[3])), 3);
    __m512i size = _mm512_permutexvar_epi8(of_lane, _mm512_castsi128_si512(sizes));
    text = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(by_place, size), text);
    text = _mm512_rorv_epi64(_mm512_mullo_epi64(text, factors), _mm512_broadcast_i32x4(_mm_set_epi64x(32, 0)));
    return _mm512_xor_si512(text, _mm512_shuffle_epi32(text, 0x4E));
}
#endif

METIER_TARGET static void NAME(hash_tokens)(const window *w, uint64_t *out) {
    size_t token = 0;
#if defined(METIER_AVX512)
    for (; token + 8 <= w->tokens; token += 8) {
        const uint32_t *starts = w->starts + token;
        __m256i sizes = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(w->ends + token)),
                                         _mm256_loadu_si256((const __m256i *)starts));
        __m512i first = NAME(four_tokens)(w->lower, starts, _mm256_castsi256_si128(sizes));
        __m512i last = NAME(four_tokens)(w->lower, starts + 4, _mm256_extracti128_si256(sizes, 1));
        __m512i hash = _mm512_permutex2var_epi64(first, _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), last);
        hash = _mm512_xor_si512(hash, _mm512_srli_epi64(hash, 32));
        hash = _mm512_mullo_epi64(hash, _mm512_set1_epi64((long long)K2));
        _mm512_storeu_si512(out + token, _mm512_xor_si512(hash, _mm512_srli_epi64(hash, 29)));
        uint32_t longer = _mm256_cmpgt_epu32_mask(sizes, _mm256_set1_epi32(16));
        for (; __builtin_expect(longer, 0); longer &= longer - 1) {
            size_t at = token + (size_t)__builtin_ctz(longer);
            out[at] = NAME(hash_token)(0, w->lower + w->starts[at], w->ends[at] - w->starts[at]);
        }
    }
#endif
    for (; token < w->tokens; token++) {
        const uint8_t *at = w->lower + w->starts[token];
        size_t size = w->ends[token] - w->starts[token];
        if (__builtin_expect(size > 16, 0)) {
            out[token] = NAME(hash_token)(0, at, size);
            continue;
        }
        uint64_t first = load_word(at) & MASKS[size][0], second = load_word(at + 8) & MASKS[size][1];
        out[token] = mix(first * K0 ^ rotate(second * K1, 32));
    }
    if (w->tokens && w->begun) out[0] = NAME(hash_token)(w->begun, w->lower, w->ends[0]);
}

METIER_TARGET static inline __attribute__((always_inline)) void NAME(hash_width)(const uint64_t *restrict tokens,
                                                                                 size_t count, int width,
                                                                                 uint64_t *restrict out) {
    for (size_t at = 0; at < count; at++) {
        uint64_t hash = tokens[at];
        for (int next = 1; next < width; next++) hash ^= rotate(tokens[at + (size_t)next], 13 * next % 64);
        out[at] = mix(hash);
    }
}

/* Hash `count` shingles, of which the first begins at tokens[0]. */
METIER_TARGET static void NAME(hash_shingles)(const uint64_t *tokens, size_t count, int width, uint64_t *out) {
    if (width == 5)
        NAME(hash_width)(tokens, count, 5, out); /* a constant: the compiler makes vectors of it */
    else
        NAME(hash_width)(tokens, count, width, out);
}

/* Add to counts[b] in how many of the hashes bit b is set. */
METIER_TARGET static void NAME(count_bits)(const uint64_t *hashes, size_t count, uint64_t counts[64]) {
    while (count) {
        /* Byte b of lanes[j] counts bit 8 b + j: full after 255. */
        uint64_t lanes[8] = {0};
        size_t here = count < 255 ? count : 255;
        for (size_t at = 0; at < here; at++)
            for (int lane = 0; lane < 8; lane++) lanes[lane] += hashes[at] >> lane & 0x0101010101010101ull;
        for (int bit = 0; bit < 64; bit++) counts[bit] += lanes[bit & 7] >> (bit & ~7) & 0xFF;
        hashes += here, count -= here;
    }
}

/* Hash whole stripes of 64 bytes into eight lanes. */
METIER_TARGET static void NAME(stripes)(uint64_t lanes[8], const uint8_t *at, size_t count) {
    uint64_t sums[8];
    memcpy(sums, lanes, sizeof sums);
    for (; count; count--, at += 64) {
        for (int lane = 0; lane < 8; lane++) {
            sums[lane] = (sums[lane] ^ load_word(at + 8 * lane)) * K0;
            sums[lane] ^= sums[lane] >> 32;
        }
    }
    memcpy(lanes, sums, sizeof sums);
}

/* Look at up to 64 bytes: store them at `out` with ASCII white space as blanks, and return where that is. `*high` gets
   those that are not ASCII. White space: tab to carriage return, 28 to 31, blank, as str.isspace has it. */
METIER_TARGET static inline uint64_t NAME(white)(const uint8_t *at, size_t left, uint8_t *out, uint64_t *high) {
    uint64_t white = 0;
#if defined(METIER_AVX512)
    __m512i bytes = left >= 64 ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi8(~0ull >> (64 - left), at);
    *high = _mm512_movepi8_mask(bytes);
    white = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8(9)), _mm512_set1_epi8(5)) |
            _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8(28)), _mm512_set1_epi8(5));
    _mm512_storeu_si512(out, _mm512_mask_mov_epi8(bytes, white, _mm512_set1_epi8(' ')));
#else
    uint8_t tail[64] = {0};
    if (left < 64) at = memcpy(tail, at, left);
    *high = 0;
#if defined(METIER_AVX2)
    for (int half = 0; half < 64; half += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(at + half));
        __m256i control = _mm256_and_si256(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(8)),
                                           _mm256_cmpgt_epi8(_mm256_set1_epi8(14), bytes));
        __m256i blank = _mm256_and_si256(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(27)),
                                         _mm256_cmpgt_epi8(_mm256_set1_epi8(33), bytes));
        __m256i is = _mm256_or_si256(control, blank);
        _mm256_storeu_si256((__m256i *)(out + half), _mm256_blendv_epi8(bytes, _mm256_set1_epi8(' '), is));
        *high |= (uint64_t)(uint32_t)_mm256_movemask_epi8(bytes) << half;
        white |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is) << half;
    }
#else
    const uint64_t tops = 0x8080808080808080ull, ones = 0x0101010101010101ull;
    for (int part = 0; part < 64; part += 8) {
        uint64_t bytes = load_word(at + part), ascii = bytes & ~tops;
        uint64_t control = (ascii + (0x80 - 9) * ones) & ~(ascii + (0x80 - 14) * ones);
        uint64_t blank = (ascii + (0x80 - 28) * ones) & ~(ascii + (0x80 - 33) * ones);
        uint64_t is = ((control | blank) & ~bytes & tops) >> 7;
        store_word(out + part, (bytes & ~(is * 255)) | is * ' ');
        white |= is * 0x0102040810204080ull >> 56 << part;
        *high |= ((bytes & tops) >> 7) * 0x0102040810204080ull >> 56 << part;
    }
#endif
#endif
    return white;
}

/* Copy bytes to `out`, which has room for 128, with every run of white space as one blank, and return how many came of
   them. Takes `*size` bytes, at most 64 and at least 1, or as many as are ASCII, and says how many. `*space` says
   whether a blank, or the beginning, came before, and then whether a blank is the last. */
METIER_TARGET static size_t NAME(collapse)(const uint8_t *at, uint64_t *size, uint8_t *out, uint64_t *space) {
    uint8_t bytes[128];
    uint64_t high, white = NAME(white)(at, *size, bytes, &high);
    if (high && *size > (uint64_t)__builtin_ctzll(high)) *size = (uint64_t)__builtin_ctzll(high);
    if (*size == 0) return 0;
    uint64_t keep = ~(white & (white << 1 | *space)) & ~0ull >> (64 - *size);
    *space = white >> (*size - 1) & 1;
#if defined(METIER_AVX512)
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(keep, _mm512_loadu_si512(bytes)));
    return (size_t)__builtin_popcountll(keep);
#else
    const uint8_t *begin = out;
    while (keep) { /* run by run; what is copied beyond a run is overwritten by the next */
        int first = __builtin_ctzll(keep), run = ~(keep >> first) ? __builtin_ctzll(~(keep >> first)) : 64;
        memcpy(out, bytes + first, 64);
        out += run;
        keep = first + run < 64 ? keep >> (first + run) << (first + run) : 0;
    }
    return (size_t)(out - begin);
#endif
}

/* Hash shingles anew for another round of a sketch. */
METIER_TARGET static void NAME(again)(const uint64_t *hashes, size_t count, uint64_t round, uint64_t *out) {
    for (size_t at = 0; at < count; at++) out[at] = mix(hashes[at] + round * K3);
}

/* Let every hash fall into a bin by its upper half, and keep the smallest lower half in each.

   Four tables in turn, so that a hash seldom waits for the store of the one before; no branch, for which is smaller
   cannot be foreseen. */
METIER_TARGET static void NAME(pour)(const uint64_t *hashes, size_t count, uint64_t bins, uint32_t *least) {
    uint32_t tables[3][MOST_BINS];
    size_t at = 0;
#define INTO(table, hash)                                            \
    do {                                                             \
        uint64_t bin = ((hash) >> 32) * bins >> 32;                  \
        uint32_t value = (uint32_t)(hash), held = (table)[bin];      \
        (table)[bin] = value < held ? value : held;                  \
    } while (0)
    if (count >= 64) {
        for (int table = 0; table < 3; table++) memset(tables[table], 0xFF, bins * sizeof *least);
        for (; at + 4 <= count; at += 4) {
            INTO(least, hashes[at]);
            INTO(tables[0], hashes[at + 1]);
            INTO(tables[1], hashes[at + 2]);
            INTO(tables[2], hashes[at + 3]);
        }
        for (int table = 0; table < 3; table++)
            for (uint64_t bin = 0; bin < bins; bin++)
                least[bin] = tables[table][bin] < least[bin] ? tables[table][bin] : least[bin];
    }
    for (; at < count; at++) INTO(least, hashes[at]);
#undef INTO
}

/* Another round: pour hashes into the bins that are empty, and return whether any still is. `open` is room for it: what
   falls into a bin that is full meets 0 there, and is lost. */
METIER_TARGET static int NAME(refill)(const uint64_t *hashes, size_t count, uint64_t bins, uint32_t *least,
                                      uint32_t *open) {
    for (uint64_t bin = 0; bin < bins; bin++) open[bin] = -(uint32_t)(least[bin] == EMPTY_BIN);
    NAME(pour)(hashes, count, bins, open);
    uint32_t most = 0;
    for (uint64_t bin = 0; bin < bins; bin++) {
        uint32_t fresh = -(uint32_t)(least[bin] == EMPTY_BIN);
        least[bin] = (least[bin] & ~fresh) | (open[bin] & fresh);
        most = least[bin] > most ? least[bin] : most;
    }
    return most == EMPTY_BIN;
}

/* Return how many of the bytes of two sketches are equal. */
METIER_TARGET static uint16_t NAME(alike)(const uint8_t *one, const uint8_t *other, size_t size) {
    uint16_t equal = 0;
    for (size_t at = 0; at < size; at++) equal += one[at] == other[at];
    return equal;
}

#undef NAME
#undef METIER_PATH
#undef METIER_TARGET
