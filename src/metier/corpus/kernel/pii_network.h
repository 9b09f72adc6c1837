/* Addresses of the net: network.py. */
#ifndef METIER_PII_NETWORK_H
#define METIER_PII_NETWORK_H

#include "pii_text.h"

#define LONGEST_LOCAL 64
#define LONGEST_USERINFO 128

/* Where the part of a URL between :// and the @ at `place` begins, or -1. */
static int64_t userinfo(const text_t *text, int64_t place) {
    int64_t start = place;
    while (place - start < LONGEST_USERINFO && (class_at(text, start - 1) & C_USERINFO)) start--;
    return equals(text, start - 3, "://", 3) && (class_at(text, start - 4) & C_ALNUM) ? start : -1;
}

static int64_t domain_end(const text_t *text, int64_t place, const lists_t *lists) {
    int64_t end = -1, limit = place + 253;
    for (int first = 1; place < limit; first = 0) {
        int64_t label = place;
        for (;;) {
            int byte = at(text, place);
            if ((byte_class[byte] & C_ALNUM) || byte == '-')
                place++;
            else if (latin_letter_at(text, place))
                place += 2;
            else
                break;
        }
        if (place == label || at(text, label) == '-') break;
        if (!first) {
            int64_t letters = label;
            while ((class_at(text, letters) & C_LETTER) && letters - label <= 24) letters++;
            int fits = letters - label >= 2 && letters - label <= 24 && !is_digit(text, letters);
            if (fits && !latin_letter_at(text, letters) && !listed(text, label, letters - label, lists, NO_TLD))
                end = letters;
        }
        if (at(text, place) != '.') break;
        place++;
    }
    return end;
}

static int exactly_listed(const text_t *text, int64_t place, int64_t size, const lists_t *lists, int list) {
    for (int number = 0; number < lists->counts[list]; number++) {
        const word_t *word = &lists->words[list][number];
        if (word->size == size && memcmp(text->data + place, word->text, (size_t)size) == 0) return 1;
    }
    return 0;
}

static int placeholder(const text_t *text, int64_t start, int64_t end) {
    if (start == end) return 0;
    if (one_of(at(text, start), "${%[*")) return 1;
    int64_t same = start + 1;
    while (same < end && text->data[same] == text->data[start]) same++;
    return end - start > 1 && same == end;
}

static void find_at_sign(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    int64_t url = userinfo(text, place);
    if (url >= 0) {
        int host = at(text, place + 1);
        const uint8_t *colon = memchr(text->data + url, ':', (size_t)(place - url));
        if (colon == NULL || !((byte_class[host] & C_ALNUM) || host == '[' || host >= 0x80)) return;
        int64_t password = colon - text->data + 1;
        if (password == place || placeholder(text, password, place) || placeholder(text, url, password - 1)) return;
        if (!listed(text, password, place - password, scan->lists, NO_PASSWORD)) add(scan, CREDENTIALS, url, place);
        return;
    }
    int64_t start = place;
    while (place - start < LONGEST_LOCAL) {
        if (class_at(text, start - 1) & C_LOCAL)
            start--;
        else if (latin_letter_before(text, start))
            start -= 2;
        else
            break;
    }
    while (start < place && one_of(at(text, start), ".%+-'")) start++;
    if (start == place || one_of(at(text, place - 1), ".'")) return;
    if (exactly_listed(text, start, place - start, scan->lists, SHARED_ACCOUNTS)) return;
    int64_t end = domain_end(text, place + 1, scan->lists);
    if (end >= 0) add(scan, EMAIL, start, end);
}

/* Read four octets from `place` to `end`; numbers of up to three digits without leading zeros, no digit after them. */
static int octets_at(const text_t *text, int64_t place, int *octets, int64_t *end) {
    for (int octet = 0; octet < 4; octet++) {
        if (octet && at(text, place++) != '.') return 0;
        int value = 0, digits = 0;
        while (digits < 3 && is_digit(text, place) && !(digits == 1 && value == 0)) {
            value = value * 10 + at(text, place++) - '0';
            digits++;
        }
        if (!digits) return 0;
        octets[octet] = value;
    }
    *end = place;
    return !is_digit(text, place);
}

static int largest(const int *octets) {
    int most = octets[0];
    for (int octet = 1; octet < 4; octet++) most = octets[octet] > most ? octets[octet] : most;
    return most;
}

static int reserved_v4(const int *octets) {
    if (octets[0] == 0 || octets[0] == 127 || octets[0] >= 224) return 1;
    return (octets[0] == 192 && octets[1] == 0 && octets[2] == 2) ||
           (octets[0] == 198 && octets[1] == 51 && octets[2] == 100) ||
           (octets[0] == 203 && octets[1] == 0 && octets[2] == 113);
}

/* Whether up to three digits, a dot, three times, and a digit stand at `place`. */
static int three_dots(const text_t *text, int64_t place) {
    for (int part = 0; part < 3; part++) {
        int digits = 0;
        while (digits < 3 && is_digit(text, place)) place++, digits++;
        if (!digits || at(text, place++) != '.') return 0;
    }
    return is_digit(text, place);
}

static int begins_address(const text_t *text, int64_t place, const lists_t *lists) {
    int before = at(text, place - 1), further = at(text, place - 2);
    if ((byte_class[before] & C_IDENTIFIER) || before == '.') return 0;
    if ((before == '-' || before == '/') && (byte_class[further] & C_LETTER)) return 0;
    if (before == '-' && further == '_') return 0;
    int64_t first = place > 16 ? place - 16 : 0;
    for (int64_t back = place; back > first; back--)
        if (text->data[back - 1] == '\n') {
            first = back;
            break;
        }
    int64_t end = place;
    while (end > first && one_of(text->data[end - 1], " .:=(\"'")) end--;
    int64_t start = end;
    while (start > first && (class_at(text, start - 1) & C_LETTER)) start--;
    if (start < end && listed(text, start, end - start, lists, NO_ADDRESS_WORDS)) return 0;
    for (int number = 0; number < lists->counts[NO_ADDRESS_SIGNS]; number++) {
        const word_t *sign = &lists->words[NO_ADDRESS_SIGNS][number];
        if (end - first >= sign->size && equals(text, end - sign->size, (const char *)sign->text, sign->size)) return 0;
    }
    return 1;
}

static int heads_a_section(const text_t *text, int64_t start, int64_t end) {
    int64_t before = start, after = end + (at(text, end) == '.');
    while (start - before < 8 && one_of(at(text, before - 1), " \t#*-=>")) before--;
    while (after - end < 5 && one_of(at(text, after), " \t")) after++;
    int next = at(text, after);
    return at(text, before - 1) == '\n' && one_of(at(text, after - 1), " \t") && ((byte_class[next] & C_UPPER) || next >= 0xC0);
}

static void find_ipv4(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    int octets[4];
    int64_t end;
    if (!octets_at(text, place, octets, &end) || largest(octets) > 255 || reserved_v4(octets)) return;
    if (!begins_address(text, place, scan->lists)) return;
    int after = at(text, end), then = at(text, end + 1), then_class = byte_class[then];
    if ((byte_class[after] & C_IDENTIFIER) || (one_of(after, ".+~") && (then_class & C_ALNUM))) return;
    if (after == '-' && (then_class & C_ALNUM) && !three_dots(text, end + 1)) return;
    int most = octets[1] > octets[2] ? octets[1] : octets[2];
    most = octets[3] > most ? octets[3] : most;
    int alike = octets[0] == octets[1] && octets[1] == octets[2] && octets[2] == octets[3];
    int placed = (after == ':' || after == '/') && (then_class & C_DIGIT);
    if (((octets[0] < 100 && most < 32) || (octets[0] < 10 && most < 100)) && !placed) {
        int known = octets[0] == 10 || alike;
        if (!cued(text, place, scan->lists, IP_CUES) && (!known || heads_a_section(text, place, end))) return;
    }
    add(scan, IP, place, end);
}

#define LONGEST_RUN 45

static int begins_with(const char *digits, const char *prefix) { return strncmp(digits, prefix, strlen(prefix)) == 0; }

static void add_mac(scan_t *scan, int64_t start, int64_t end) {
    char digits[32];
    int size = 0, differ = 0;
    for (int64_t place = start; place < end && size < 31; place++)
        if (class_at(&scan->text, place) & C_HEX) digits[size++] = (char)small(at(&scan->text, place));
    digits[size] = 0;
    for (int place = 1; place < size; place++) differ |= digits[place] != digits[0];
    if (!differ || begins_with(digits, "01005e") || begins_with(digits, "3333") || begins_with(digits, "00005e0053"))
        return;
    add(scan, MAC, start, end);
}

static int is_group(const text_t *text, const int64_t *group, const char *word) {
    int64_t size = group[1] - group[0];
    if (size != (int64_t)strlen(word)) return 0;
    for (int64_t place = 0; place < size; place++)
        if (small(at(text, group[0] + place)) != word[place]) return 0;
    return 1;
}

static int reserved_v6(const text_t *text, const int64_t *first, const int64_t *second) {
    if (is_group(text, first, "2001") && (is_group(text, second, "db8") || is_group(text, second, "0db8"))) return 1;
    return first[1] - first[0] == 4 && small(at(text, first[0])) == 'f' && small(at(text, first[0] + 1)) == 'f';
}

static void find_ipv6(scan_t *scan, int64_t start, int64_t end, int64_t (*groups)[2], int count) {
    const text_t *text = &scan->text;
    int64_t *last = groups[count - 1], mapped_end = -1;
    int octets[4], total = count, empty = 0, gaps = 0;
    int64_t run_end = end;
    if (at(text, end) == '.' && last[1] > last[0] && octets_at(text, last[0], octets, &mapped_end)) {
        if (largest(octets) > 255 || !no_identifier(text, mapped_end)) return;
        end = mapped_end;
        total++;
    } else {
        mapped_end = -1;
        if (at(text, end) == '.' && (class_at(text, end + 1) & C_ALNUM)) return;
    }
    for (int group = 0; group < count; group++) {
        if (groups[group][1] - groups[group][0] > 4) return;
        empty += groups[group][1] == groups[group][0];
    }
    for (int64_t place = start; place + 1 < run_end; place++) gaps += equals(text, place, "::", 2);
    if (gaps == 0) {
        if (total == 8 && !empty && !reserved_v6(text, groups[0], groups[1])) add(scan, IP, start, end);
        return;
    }
    if (gaps > 1 || total - empty > 7) return;
    const int64_t *first = groups[0];
    if (first[0] == first[1]) {
        if (mapped_end >= 0 && count == 4 && is_group(text, groups[2], "ffff") && !reserved_v4(octets))
            add(scan, IP, start, end);
        return;
    }
    int one = small(at(text, first[0])), two = small(at(text, first[0] + 1)), three = small(at(text, first[0] + 2));
    int given = first[1] - first[0] == 4 && (one == '2' || one == '3' || (one == 'f' && (two == 'c' || two == 'd')) ||
                                             (one == 'f' && two == 'e' && one_of(three, "89ab")));
    if (given && !reserved_v6(text, first, groups[1])) add(scan, IP, start, end);
}

static int in_run(const text_t *text, int64_t place) {
    int byte = at(text, place);
    return (byte_class[byte] & C_HEX) || byte == ':';
}

/* Look at the run of hexadecimal digits and colons around the colon at `place`; returns where it ends or is given up. */
static int64_t find_colons(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    int64_t start = place, end = place;
    while (place - start <= LONGEST_RUN && in_run(text, start - 1)) start--;
    while (end - start <= LONGEST_RUN && in_run(text, end)) end++;
    const int64_t stop = end;
    if (end - start > LONGEST_RUN || end - start < 6) return stop;
    if (at(text, start) == ':' && at(text, start + 1) != ':') start++;
    if (class_at(text, start - 1) & C_IDENTIFIER) {
        while (start < end && (class_at(text, start) & C_HEX)) start++;
        if (start >= end || at(text, start + 1) == ':') return stop;
        start++;
    }
    if (at(text, end - 1) == ':' && at(text, end - 2) != ':') end--;
    if (!no_identifier(text, end) || end <= start) return stop;
    int64_t groups[LONGEST_RUN + 2][2];
    int count = 0, pairs = 1;
    for (int64_t from = start; from <= end; count++) {
        int64_t to = from;
        while (to < end && at(text, to) != ':') to++;
        groups[count][0] = from;
        groups[count][1] = to;
        pairs &= to - from == 2;
        from = to + 1;
    }
    if ((count == 6 || count == 8) && pairs)
        add_mac(scan, start, end);
    else if (count > 1)
        find_ipv6(scan, start, end, groups, count);
    return stop;
}

/* Look for 00-1A-2B-3C-4D-5E (`sign` is a hyphen, pairs of digits) or 001a.2b3c.4d5e (a dot, fours) at `start`. */
static void find_mac(scan_t *scan, int64_t start, int sign, int width, int parts) {
    const text_t *text = &scan->text;
    int before = at(text, start - 1);
    if (start < 0 || (byte_class[before] & C_IDENTIFIER) || before == '.' || before == '-') return;
    int64_t place = start;
    int letters = 0;
    for (int part = 0; part < parts; part++) {
        if (part && at(text, place++) != sign) return;
        for (int digit = 0; digit < width; digit++, place++) {
            if (!(class_at(text, place) & C_HEX)) return;
            letters += (class_at(text, place) & C_LETTER) != 0;
        }
    }
    int after = at(text, place);
    if ((byte_class[after] & C_IDENTIFIER) || (sign == '-' && after == '-')) return;
    if (sign == '.' && after == '.' && (class_at(text, place + 1) & C_ALNUM)) return;
    if ((letters == 0 || letters == 12) && !cued(text, start, scan->lists, MAC_CUES)) return;
    add_mac(scan, start, place);
}

#endif
