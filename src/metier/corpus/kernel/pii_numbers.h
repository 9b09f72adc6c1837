/* Numbers of persons and telephones: identifiers.py, numbers.py and phones.py. */
#ifndef METIER_PII_NUMBERS_H
#define METIER_PII_NUMBERS_H

#include "pii_text.h"

#define FEWEST_DIGITS 6
#define MOST_GROUPS 9
#define LONGEST_GROUP 20

/* ---- identifiers.py: digits as characters, without separators ---- */

static int all_digits(const char *text, int size) {
    for (int place = 0; place < size; place++)
        if (text[place] < '0' || text[place] > '9') return 0;
    return 1;
}

static int number_of(const char *text, int size) {
    int value = 0;
    for (int place = 0; place < size; place++) value = value * 10 + (text[place] - '0');
    return value;
}

static int luhn(const char *digits, int size) {
    int total = 0;
    for (int place = 0; place < size; place++) {
        int value = (digits[size - 1 - place] - '0') * (1 + place % 2);
        total += value > 9 ? value - 9 : value;
    }
    return total % 10 == 0;
}

static int issued_card(const char *digits, int size) {
    int two = number_of(digits, 2), three = number_of(digits, 3), four = number_of(digits, 4);
    if (digits[0] == '4' && (size == 13 || size == 16 || size == 19)) return 1;
    if (((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) && size == 16) return 1;
    if ((two == 34 || two == 37) && size == 15) return 1;
    if ((four == 6011 || (three >= 644 && three <= 649) || two == 65) && (size == 16 || size == 19)) return 1;
    if (four >= 3528 && four <= 3589 && size >= 16 && size <= 19) return 1;
    if ((four == 1800 || four == 2131) && size == 15) return 1;
    if (((three >= 300 && three <= 305) || three == 309 || two == 36 || two == 38 || two == 39) && size == 14) return 1;
    if ((two == 62 || two == 81) && size >= 16 && size <= 19) return 1;
    int maestro = two == 50 || (two >= 56 && two <= 58) || two == 63 || two == 67 || four == 6304 || four == 6759;
    return maestro && (size == 16 || size == 18 || size == 19);
}

static int card(const char *digits, int size) {
    if (size < 13 || size > 19 || !issued_card(digits, size)) return 0;
    int same = 1;
    while (same < size && digits[same] == digits[0]) same++;
    return same < size && luhn(digits, size);
}

static int us_ssn(const char *digits) {
    return memcmp(digits, "000", 3) && memcmp(digits, "666", 3) && digits[0] != '9' && memcmp(digits + 3, "00", 2) &&
           memcmp(digits + 5, "0000", 4);
}

static int de_tax_id(const char *digits) {
    if (digits[0] == '0') return 0;
    int count[10] = {0}, often = -1;
    for (int place = 0; place < 10; place++) count[digits[place] - '0']++;
    for (int digit = 0; digit < 10; digit++) {
        if (count[digit] < 2) continue;
        if (often >= 0 || count[digit] > 3) return 0;
        often = digit;
    }
    if (often < 0) return 0;
    for (int place = 0; place < 8; place++)
        if (digits[place] == '0' + often && digits[place + 1] == digits[place] && digits[place + 2] == digits[place])
            return 0;
    int product = 10;
    for (int place = 0; place < 10; place++) {
        int total = (digits[place] - '0' + product) % 10;
        product = 2 * (total ? total : 10) % 11;
    }
    return (11 - product) % 10 == digits[10] - '0';
}

static int base36(int character) {
    return character >= '0' && character <= '9' ? character - '0' : character - 'A' + 10;
}

static int id_card_letter(int character) { return one_of(character, "CFGHJKLMNPRTVWXYZ"); }

static int de_id_card(const char *text) {
    if (!id_card_letter(text[0]) || !all_digits(text + 9, 1)) return 0;
    static const int weights[] = {7, 3, 1};
    int total = 0;
    for (int place = 0; place < 9; place++) {
        if (!id_card_letter(text[place]) && !all_digits(text + place, 1)) return 0;
        total += base36(text[place]) * weights[place % 3];
    }
    return total % 10 == text[9] - '0';
}

static int fr_nir(const char *text) {
    if (!one_of(text[0], "12")) return 0;
    char plain[15];
    memcpy(plain, text, 15);
    if (memcmp(text + 5, "2A", 2) == 0) memcpy(plain + 5, "19", 2);
    if (memcmp(text + 5, "2B", 2) == 0) memcpy(plain + 5, "18", 2);
    if (!all_digits(plain, 15) || memcmp(text + 5, "00", 2) == 0) return 0;
    int month = number_of(text + 3, 2);
    if (!((month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50)) return 0;
    int64_t body = 0;
    for (int place = 0; place < 13; place++) body = body * 10 + (plain[place] - '0');
    return 97 - body % 97 == number_of(plain + 13, 2);
}

static int es_dni(const char *digits, int letter) {
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number_of(digits, 8) % 23] == letter;
}

static int it_codice_fiscale(const char *text) {
    static const uint8_t odd[36] = {1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1,  0,  5,  7,  9,  13, 15, 17,
                                    19, 21, 2, 4, 18, 20, 11, 3,  6,  8,  12, 14, 16, 10, 22, 25, 24, 23};
    int day = number_of(text + 9, 2);
    if (!one_of(text[8], "ABCDEHLMPRST") || day > 71 || day % 40 < 1 || day % 40 > 31) return 0;
    int total = 0;
    for (int place = 0; place < 15; place++) {
        int value = base36(text[place]);
        total += place % 2 == 0 ? odd[value] : value >= 10 ? value - 10 : value;
    }
    return 'A' + total % 26 == text[15];
}

static int uk_nino(const char *text) {
    static const char *const never[] = {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"};
    if (one_of(text[0], "DFIQUV") || one_of(text[1], "DFIOQUV") || !one_of(text[8], "ABCD")) return 0;
    for (int prefix = 0; prefix < 7; prefix++)
        if (memcmp(text, never[prefix], 2) == 0) return 0;
    return all_digits(text + 2, 6);
}

static int cn_resident_id(const char *text, const lists_t *lists) {
    text_t whole = {(const uint8_t *)text, 18};
    if (!all_digits(text, 17) || !listed(&whole, 0, 2, lists, CN_PROVINCES)) return 0;
    int year = number_of(text + 6, 4), month = number_of(text + 10, 2), day = number_of(text + 12, 2);
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1900 || year > 2099 || month < 1 || month > 12) return 0;
    if (day < 1 || day > days[month - 1] + (month == 2 && leap)) return 0;
    int total = 0, power = 1;
    for (int place = 17; place >= 1; place--) {
        power = power * 2 % 11;
        total += (text[place - 1] - '0') * power;
    }
    int check = text[17] == 'x' ? 'X' : text[17];
    return "10X98765432"[total % 11] == check;
}

/* ---- numbers.py ---- */

typedef struct {
    const text_t *text;
    int count;
    int64_t starts[MOST_GROUPS], ends[MOST_GROUPS];
    char separators[MOST_GROUPS]; /* 0 before the first */
} groups_t;

static int digit_after(const text_t *text, int64_t place, int64_t *next) {
    *next = place;
    return is_digit(text, place);
}

/* The separator at `place`, as its letter, or 0; `next` is where the digits after it begin. */
static int separator_at(const text_t *text, int64_t place, int64_t *next) {
    int first = at(text, place);
    int64_t open = place + (first == ' ');
    if (at(text, open) == '(') {
        if (at(text, open + 1) == '0' && at(text, open + 2) == ')') {
            if (at(text, open + 3) == ' ' && digit_after(text, open + 4, next)) return 'T';
            if (digit_after(text, open + 3, next)) return 'T';
        }
        if (digit_after(text, open + 1, next)) return 'O';
    }
    if (first == ')') {
        int then = at(text, place + 1);
        if ((then == ' ' || then == '-') && digit_after(text, place + 2, next)) return 'P';
        return digit_after(text, place + 1, next) ? 'P' : 0;
    }
    if (first == '-') return digit_after(text, place + 1, next) ? 'H' : 0;
    if (first == '.') return digit_after(text, place + 1, next) ? 'D' : 0;
    if (first == '/') return digit_after(text, place + 1, next) ? 'L' : 0;
    if (first == ' ') {
        if (digit_after(text, place + 1, next)) return 'S';
        if (equals(text, place, " - ", 3) && digit_after(text, place + 3, next)) return 'H';
        if (equals(text, place, " \xe2\x80\x93 ", 5) && digit_after(text, place + 5, next)) return 'H';
        return equals(text, place, " / ", 3) && digit_after(text, place + 3, next) ? 'L' : 0;
    }
    if (first == 0xC2) return at(text, place + 1) == 0xA0 && digit_after(text, place + 2, next) ? 'S' : 0;
    if (first == 0xE2 && at(text, place + 1) == 0x80) {
        int third = at(text, place + 2);
        if (third >= 0x90 && third <= 0x93) return digit_after(text, place + 3, next) ? 'H' : 0;
        if (third == 0x89 || third == 0xAF) return digit_after(text, place + 3, next) ? 'S' : 0;
    }
    return 0;
}

static void groups_read(groups_t *groups, const text_t *text, int64_t place) {
    groups->text = text;
    groups->count = 0;
    int separator = 0;
    for (;;) {
        int64_t end = place;
        while (end - place <= LONGEST_GROUP && is_digit(text, end)) end++;
        groups->starts[groups->count] = place;
        groups->ends[groups->count] = end;
        groups->separators[groups->count++] = (char)separator;
        if (groups->count == MOST_GROUPS || end - place > LONGEST_GROUP) return;
        separator = separator_at(text, end, &place);
        if (!separator) return;
    }
}

static inline int size_of(const groups_t *groups, int group) {
    return group < groups->count ? (int)(groups->ends[group] - groups->starts[group]) : -1;
}

/* Whether the groups from `first` on have these sizes, given as characters: "334". */
static int sizes_are(const groups_t *groups, int first, const char *sizes) {
    for (int group = 0; sizes[group]; group++)
        if (size_of(groups, first + group) != sizes[group] - '0') return 0;
    return 1;
}

/* Whether the separators inside the groups `first` to `last` are these. */
static int between_is(const groups_t *groups, int first, int last, const char *letters) {
    return (int)strlen(letters) == last - first && memcmp(groups->separators + first + 1, letters, (size_t)(last - first)) == 0;
}

static int between_are_all(const groups_t *groups, int first, int last, int letter) {
    for (int group = first + 1; group <= last; group++)
        if (groups->separators[group] != letter) return 0;
    return 1;
}

#define DIGITS_ROOM (MOST_GROUPS * (LONGEST_GROUP + 1) + 1)

/* Write the digits of the groups `first` to `last` and return how many. */
static int digits_of(const groups_t *groups, int first, int last, char *digits) {
    int size = 0;
    for (int group = first; group <= last; group++) {
        int64_t part = groups->ends[group] - groups->starts[group];
        memcpy(digits + size, groups->text->data + groups->starts[group], (size_t)part);
        size += (int)part;
    }
    digits[size] = 0;
    return size;
}

static int begins(const groups_t *groups) {
    const text_t *text = groups->text;
    int64_t place = groups->starts[0];
    int before = at(text, place - 1), further = at(text, place - 2), furthest = at(text, place - 3);
    int further_class = byte_class[further];
    if ((byte_class[before] & C_IDENTIFIER) || before == '$' || before == '%' || before == '\\') return 0;
    if ((before == '.' || before == '-' || before == '/') &&
        ((further_class & C_ALNUM) || (before == '/' && further == '/')))
        return 0;
    if (before == ':' && (further_class & C_DIGIT)) return 0;
    if (before == '#' && further == '&') return 0;
    if (further == 0xC2 && (before == 0xA3 || before == 0xA5)) return 0;
    if (furthest == 0xE2 && further == 0x82 && before == 0xAC) return 0;
    if (furthest == 0xEF && further == 0xBF && before == 0xA5) return 0;
    int alone = groups->count == 1 || groups->separators[1] == 'S';
    return !(before == ',' && (further_class & C_DIGIT) && size_of(groups, 0) == 3 && alone);
}

static int stands_alone_left(const groups_t *groups) {
    const text_t *text = groups->text;
    int64_t place = groups->starts[0];
    if (at(text, place - 1) == ' ' && is_digit(text, place - 2)) return 0;
    return !(at(text, place - 2) == 0xC2 && at(text, place - 1) == 0xA0 && is_digit(text, place - 3));
}

static int ends_after(const groups_t *groups, int last, int alone) {
    int64_t end = groups->ends[last];
    int after = at(groups->text, end);
    if ((byte_class[after] & C_IDENTIFIER) || after == '%') return 0;
    if (after == ':' && is_digit(groups->text, end + 1)) return 0;
    int following = last + 1 < groups->count ? groups->separators[last + 1] : 0;
    if (following == 'H' || following == 'D' || following == 'L') return 0;
    return !(alone && following == 'S');
}

static int no_identifier(const text_t *text, int64_t place) { return !(class_at(text, place) & C_IDENTIFIER); }

static int iban_good(const uint8_t *text, int size) {
    char order[64];
    for (int place = 0; place < size; place++) order[place] = (char)text[(place + 4) % size];
    int rest = 0;
    for (int place = 0; place < size; place++) {
        int value = base36(order[place]);
        rest = value >= 10 ? (rest * 100 + value) % 97 : (rest * 10 + value) % 97;
    }
    return rest == 1;
}

static int find_iban(scan_t *scan, int64_t start) {
    const text_t *text = &scan->text;
    if (start < 0 || !no_identifier(text, start - 1) || !(class_at(text, start) & C_UPPER)) return 0;
    int size = 0;
    for (int number = 0; number < scan->lists->counts[IBAN_LENGTHS] && !size; number++) {
        const word_t *word = &scan->lists->words[IBAN_LENGTHS][number];
        if (word->size == 3 && word->text[0] == at(text, start) && word->text[1] == at(text, start + 1))
            size = word->text[2];
    }
    if (size == 0 || size > 40) return 0;
    uint8_t plain[64];
    int64_t place = start;
    int spaced = at(text, start + 4) == ' ';
    for (int count = 0; count < size; count++) {
        if (spaced && count && count % 4 == 0 && at(text, place++) != ' ') return 0;
        if (!(class_at(text, place) & (C_UPPER | C_DIGIT))) return 0;
        plain[count] = (uint8_t)at(text, place++);
    }
    if (!no_identifier(text, place) || !all_digits((const char *)plain + 2, 2)) return 0;
    int check = number_of((const char *)plain + 2, 2);
    if (check < 2 || check > 98 || !iban_good(plain, size)) return 0;
    add(scan, IBAN, start, place);
    return 1;
}

static int find_tax_code(scan_t *scan, int64_t start) {
    const text_t *text = &scan->text;
    static const char shape[] = "AAAAAA99A99A999A";
    if (start < 0 || !no_identifier(text, start - 1) || !no_identifier(text, start + 16)) return 0;
    for (int place = 0; place < 16; place++)
        if (!(class_at(text, start + place) & (shape[place] == 'A' ? C_UPPER : C_DIGIT))) return 0;
    if (!it_codice_fiscale((const char *)text->data + start)) return 0;
    add(scan, IT_CF, start, start + 16);
    return 1;
}

static int find_nino(scan_t *scan, int64_t start) {
    const text_t *text = &scan->text;
    if (start < 0 || !no_identifier(text, start - 1)) return 0;
    char plain[9];
    if (!(class_at(text, start) & C_UPPER) || !(class_at(text, start + 1) & C_UPPER)) return 0;
    plain[0] = (char)at(text, start), plain[1] = (char)at(text, start + 1);
    int spaced = at(text, start + 2) == ' ';
    int64_t place = start + 2;
    for (int count = 0; count < 6; count++) {
        if (spaced && count % 2 == 0 && at(text, place++) != ' ') return 0;
        if (!is_digit(text, place)) return 0;
        plain[2 + count] = (char)at(text, place++);
    }
    int gap = spaced && at(text, place) == ' ';
    place += gap;
    if (!(class_at(text, place) & C_UPPER) || !no_identifier(text, place + 1)) return 0;
    plain[8] = (char)at(text, place);
    if (!uk_nino(plain)) return 0;
    int hexadecimal = !spaced && one_of(plain[0], "ABCDEF") && one_of(plain[1], "ABCDEF");
    if (hexadecimal && !cued(text, start, scan->lists, NINO_CUES)) return 0;
    add(scan, UK_NINO, start, place + 1);
    return 1;
}

static int find_nie(scan_t *scan, int64_t start) {
    const text_t *text = &scan->text;
    if (start < 0 || !no_identifier(text, start - 1) || !one_of(at(text, start), "XYZ")) return 0;
    char digits[8] = {(char)('0' + at(text, start) - 'X')};
    int64_t place = start + 1 + (at(text, start + 1) == '-');
    for (int count = 1; count < 8; count++, place++) {
        if (!is_digit(text, place)) return 0;
        digits[count] = (char)at(text, place);
    }
    place += at(text, place) == '-';
    if (!(class_at(text, place) & C_UPPER) || !no_identifier(text, place + 1) || !es_dni(digits, at(text, place)))
        return 0;
    add(scan, ES_NIE, start, place + 1);
    return 1;
}

static int find_lettered(scan_t *scan, int64_t place) {
    int before = at(&scan->text, place - 1);
    if (byte_class[before] & C_UPPER)
        return find_iban(scan, place - 2) || find_tax_code(scan, place - 6) || find_nino(scan, place - 2) ||
               find_nie(scan, place - 1);
    if (before == ' ' && (class_at(&scan->text, place - 2) & C_UPPER)) return find_nino(scan, place - 3);
    return before == '-' && find_nie(scan, place - 2);
}

static int find_dni(scan_t *scan, int64_t start, int64_t end, const char *digits) {
    const text_t *text = &scan->text;
    int64_t place = end + (at(text, end) == '-');
    int letter = at(text, place);
    if (!(byte_class[letter] & C_UPPER) || !no_identifier(text, place + 1) || !es_dni(digits, letter)) return 0;
    if ((letter == 'L' || letter == 'F') && !cued(text, start, scan->lists, DNI_CUES)) return 0;
    add(scan, ES_DNI, start, place + 1);
    return 1;
}

static int find_in_one(scan_t *scan, const groups_t *groups) {
    const text_t *text = &scan->text;
    int64_t start = groups->starts[0], end = groups->ends[0];
    int size = size_of(groups, 0);
    const char *digits = (const char *)text->data + start;
    if ((size == 17 || size == 18) && start + 18 <= text->size && no_identifier(text, start + 18) &&
        cn_resident_id(digits, scan->lists)) {
        add(scan, CN_RESIDENT, start, start + 18);
        return 1;
    }
    if (size == 8) return find_dni(scan, start, end, digits);
    if (!ends_after(groups, 0, 0)) return 0;
    int code = -1;
    if (size == 15 && fr_nir(digits))
        code = FR_NIR;
    else if (card(digits, size))
        code = CARD;
    else if (size == 11 && de_tax_id(digits) && !cued(text, start, scan->lists, PHONE_CUES))
        code = DE_TAX;
    else if (size == 9 && us_ssn(digits) && cued(text, start, scan->lists, SSN_CUES))
        code = US_SSN;
    if (code >= 0) add(scan, code, start, end);
    return code >= 0;
}

static int find_nir(scan_t *scan, int64_t start) {
    const text_t *text = &scan->text;
    static const int8_t parts[] = {1, 2, 2, 2, 3, 3, 2};
    char plain[15];
    int size = 0;
    int64_t place = start;
    int spaced = at(text, start + 1) == ' ';
    for (int part = 0; part < 7; part++) {
        if (part == 6)
            place += at(text, place) == ' ';
        else if (part && spaced && at(text, place++) != ' ')
            return 0;
        for (int count = 0; count < parts[part]; count++, place++) {
            int byte = at(text, place), corsica = part == 3 && count == 1 && plain[size - 1] == '2';
            if (!(byte_class[byte] & C_DIGIT) && !(corsica && (byte == 'A' || byte == 'B'))) return 0;
            plain[size++] = (char)byte;
        }
    }
    if (!no_identifier(text, place) || !fr_nir(plain)) return 0;
    add(scan, FR_NIR, start, place);
    return 1;
}

static int find_in_groups(scan_t *scan, const groups_t *groups) {
    const text_t *text = &scan->text;
    int64_t start = groups->starts[0];
    char digits[DIGITS_ROOM];
    if (sizes_are(groups, 0, "324") && (between_is(groups, 0, 2, "HH") || between_is(groups, 0, 2, "SS"))) {
        int spaced = groups->separators[1] == 'S';
        if (spaced && !(stands_alone_left(groups) && cued(text, start, scan->lists, SSN_CUES))) return 0;
        if (!ends_after(groups, 2, spaced)) return 0;
        digits_of(groups, 0, 2, digits);
        if (!us_ssn(digits) || cued(text, start, scan->lists, THING_CUES)) return 0;
        add(scan, US_SSN, start, groups->ends[2]);
        return 1;
    }
    if (sizes_are(groups, 0, "2333") && groups->separators[1] && strchr("SLHD", groups->separators[1]) &&
        between_are_all(groups, 0, 3, groups->separators[1])) {
        digits_of(groups, 0, 3, digits);
        if (!ends_after(groups, 3, 0) || !de_tax_id(digits)) return 0;
        add(scan, DE_TAX, start, groups->ends[3]);
        return 1;
    }
    if (sizes_are(groups, 0, "233") && between_is(groups, 0, 2, "DD")) {
        digits_of(groups, 0, 2, digits);
        return find_dni(scan, start, groups->ends[2], digits);
    }
    if (sizes_are(groups, 0, "68") && (groups->separators[1] == 'S' || groups->separators[1] == 'H')) {
        int64_t tail = groups->ends[1];
        int sign = at(text, tail), last = at(text, tail + 4);
        int shaped = (sign == ' ' || sign == '-') && is_digit(text, tail + 1) && is_digit(text, tail + 2) &&
                     is_digit(text, tail + 3) && ((byte_class[last] & C_DIGIT) || last == 'X' || last == 'x');
        if (!shaped || !no_identifier(text, tail + 5)) return 0;
        digits_of(groups, 0, 1, digits);
        memcpy(digits + 14, text->data + tail + 1, 4);
        if (!cn_resident_id(digits, scan->lists)) return 0;
        add(scan, CN_RESIDENT, start, tail + 5);
        return 1;
    }
    static const char *const shapes[] = {"44443", "4444", "465", "464"};
    for (int shape = 0; shape < 4; shape++) {
        int last = (int)strlen(shapes[shape]) - 1;
        if (!sizes_are(groups, 0, shapes[shape])) continue;
        if (!between_are_all(groups, 0, last, 'S') && !between_are_all(groups, 0, last, 'H')) continue;
        if (ends_after(groups, last, 0) && card(digits, digits_of(groups, 0, last, digits))) {
            add(scan, CARD, start, groups->ends[last]);
            return 1;
        }
    }
    return 0;
}

/* ---- phones.py ---- */

static int extension_end(const text_t *text, int64_t place, int64_t *end) {
    place += at(text, place) == ' ';
    int first = at(text, place);
    if (first == 'x' || first == 'X')
        place += 1;
    else if ((first == 'e' || first == 'E') && equals(text, place + 1, "xt", 2))
        place += 3 + (at(text, place + 3) == '.');
    else if (equals(text, place, "\xe8\xbd\xac", 3))
        place += 3;
    else if (equals(text, place, "\xe5\x88\x86\xe6\x9c\xba", 6))
        place += 6;
    else
        return 0;
    place += at(text, place) == ' ';
    int digits = 0;
    while (digits < 7 && is_digit(text, place + digits)) digits++;
    *end = place + digits;
    return digits >= 1 && digits <= 6 && no_identifier(text, *end);
}

static int unit_at(const text_t *text, int64_t place, const lists_t *lists) {
    place += at(text, place) == ' ';
    for (int number = 0; number < lists->counts[UNITS]; number++) {
        const word_t *word = &lists->words[UNITS][number];
        if (equals(text, place, (const char *)word->text, word->size)) return 1;
    }
    int64_t here = place;
    /* [kKMGT]?i?[bB](?:ytes?|its?)?(?![a-z]) */
    here += one_of(at(text, here), "kKMGT");
    here += at(text, here) == 'i';
    if (at(text, here) == 'b' || at(text, here) == 'B') {
        here++;
        int64_t whole = here;
        if (equals(text, here, "yte", 3))
            whole = here + 3 + (at(text, here + 3) == 's');
        else if (equals(text, here, "it", 2))
            whole = here + 2 + (at(text, here + 2) == 's');
        if (!(class_at(text, whole) & C_LOWER)) return 1;
    }
    here = place + one_of(at(text, place), "mun");
    return at(text, here) == 's' && !(class_at(text, here + 1) & C_LOWER);
}

typedef struct {
    scan_t *scan;
    const groups_t *groups;
    int said, likely; /* whether a word before speaks of telephones; whether that or an @ does: -1 not yet looked */
} phone_t;

static int said(phone_t *phone) {
    const groups_t *groups = phone->groups;
    if (phone->said < 0) phone->said = cued(groups->text, groups->starts[0], phone->scan->lists, PHONE_CUES);
    return phone->said;
}

#define BESIDE 32

static int beside_mail(const text_t *text, int64_t start, int64_t end) {
    for (int64_t place = start - 1; place >= start - BESIDE && place >= 0 && text->data[place] != '\n'; place--)
        if (text->data[place] == '@') return 1;
    for (int64_t place = end; place < end + BESIDE && place < text->size && text->data[place] != '\n'; place++)
        if (text->data[place] == '@') return 1;
    return 0;
}

static int likely(phone_t *phone) {
    const groups_t *groups = phone->groups;
    if (phone->likely < 0)
        phone->likely = said(phone) || beside_mail(groups->text, groups->starts[0], groups->ends[0]);
    return phone->likely;
}

/* Where a phone that ends with group `last` begins and ends. */
static int phone_span(const phone_t *phone, int last, int alone, int64_t *start, int64_t *end) {
    const groups_t *groups = phone->groups;
    const text_t *text = groups->text;
    int extended = extension_end(text, groups->ends[last], end);
    if (!extended) {
        *end = groups->ends[last];
        if (!ends_after(groups, last, alone)) return 0;
    }
    if (last == 0 && unit_at(text, groups->ends[0], phone->scan->lists)) return 0;
    if (alone && !stands_alone_left(groups)) return 0;
    int opened = last > 0 && groups->separators[1] == 'P' && at(text, groups->starts[0] - 1) == '(';
    *start = groups->starts[0] - opened;
    return 1;
}

static int add_phone(const phone_t *phone, int last, int alone) {
    int64_t start, end;
    if (!phone_span(phone, last, alone, &start, &end)) return 0;
    add(phone->scan, PHONE, start, end);
    return 1;
}

/* How many digits a country's code has, 0 for none. */
static int country_size(const char *digits, int size) {
    static const char two[] = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 "
                              "64 65 66 81 82 84 86 90 91 92 93 94 95 98";
    static const char three[] =
        "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 "
        "237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 "
        "260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 "
        "357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389 420 "
        "421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 "
        "670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 "
        "808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 "
        "968 970 971 972 973 974 975 976 977 979 992 993 994 995 996 998";
    if (size >= 1 && (digits[0] == '1' || digits[0] == '7')) return 1;
    if (size < 2) return 0;
    char first[4] = {digits[0], digits[1], 0, 0};
    if (strstr(two, first)) return 2;
    if (size < 3) return 0;
    first[2] = digits[2];
    return strstr(three, first) ? 3 : 0;
}

static int office(int digit) { return digit != '0' && digit != '1'; }

static int cn_mobile(const char *digits) {
    static const char *const allotted[10] = {"", "", "", "", "56789", "012356789", "2567", "0123456789", "", "012356789"};
    int second = digits[1] - '0';
    return digits[0] == '1' && (second == 3 || second == 8 || one_of(digits[2], allotted[second]));
}

static int international(phone_t *phone, int skipped) {
    const groups_t *groups = phone->groups;
    const text_t *text = groups->text;
    int64_t first = groups->starts[0];
    if (skipped == 0) {
        int before = at(text, first - 2);
        if ((byte_class[before] & C_IDENTIFIER) || before == '+') return 0;
    }
    for (int last = (groups->count < 7 ? groups->count : 7) - 1; last >= 0; last--) {
        char room[DIGITS_ROOM];
        int size = digits_of(groups, 0, last, room) - skipped;
        const char *digits = room + skipped;
        int country = country_size(digits, size);
        if (country == 0) return 0;
        const char *national = digits + country;
        int rest = size - country, fewest = 7, most = 12, alone = skipped == 2;
        if (country == 1 && digits[0] == '1')
            fewest = most = 10;
        else if (country == 2 && (memcmp(digits, "33", 2) == 0 || memcmp(digits, "34", 2) == 0))
            fewest = most = 9;
        else if (country == 2 && memcmp(digits, "44", 2) == 0)
            fewest = 9, most = 10;
        else if (country == 2 && memcmp(digits, "49", 2) == 0)
            fewest = 6, most = 11;
        else if (country == 2 && memcmp(digits, "86", 2) == 0)
            fewest = 9, most = 11;
        else
            alone = 1;
        if (rest < fewest || rest > most || national[0] == '0' || size > 15) continue;
        if (country == 1 && digits[0] == '1' && !(office(national[0]) && office(national[3]))) continue;
        if (country == 2 && memcmp(digits, "86", 2) == 0 && rest == 11 && last == 0 && !cn_mobile(national)) continue;
        int64_t start, end;
        if (!phone_span(phone, last, alone, &start, &end)) continue;
        if (skipped == 0)
            start = first - 1 - (groups->count > 1 && groups->separators[1] == 'P' && at(text, first - 2) == '(');
        add(phone->scan, PHONE, start, end);
        return 1;
    }
    return 0;
}

static int digit_at(const groups_t *groups, int group, int place) {
    return groups->text->data[groups->starts[group] + place];
}

static int north_american(phone_t *phone) {
    const groups_t *groups = phone->groups;
    int first = size_of(groups, 0) == 1 && digit_at(groups, 0, 0) == '1' && groups->count > 1;
    if (sizes_are(groups, first, "334")) {
        static const char *const inner[] = {"HH", "DD", "PH", "PD", "PS", "SH", "SS"};
        int kind = 0;
        while (kind < 7 && !between_is(groups, first, first + 2, inner[kind])) kind++;
        if (kind == 7 || (kind == 6 && !likely(phone))) return 0;
        int opened = at(groups->text, groups->starts[first] - 1) == '(';
        if ((inner[kind][0] == 'P') != opened) return 0;
        if (!office(digit_at(groups, first, 0)) || !office(digit_at(groups, first + 1, 0))) return 0;
        return add_phone(phone, first + 2, kind == 6);
    }
    return size_of(groups, 0) == 10 && office(digit_at(groups, 0, 0)) && office(digit_at(groups, 0, 3)) &&
           likely(phone) && add_phone(phone, 0, 1);
}

static int wide(int byte) { return (byte >= 0xE3 && byte <= 0xE9) || byte == 0xEF; }

static int chinese(phone_t *phone) {
    const groups_t *groups = phone->groups;
    const text_t *text = groups->text;
    const char *first = (const char *)text->data + groups->starts[0];
    int size = size_of(groups, 0);
    if (size == 11 && cn_mobile(first)) {
        int near = likely(phone);
        for (int offset = 1; offset <= 12 && !near; offset++) near = wide(at(text, groups->starts[0] - offset));
        for (int offset = 0; offset < 9 && !near; offset++) near = wide(at(text, groups->ends[0] + offset));
        return near && add_phone(phone, 0, 1);
    }
    int hyphens = groups->count > 2 && between_is(groups, 0, 2, "HH");
    if (sizes_are(groups, 0, "344") && (hyphens || between_is(groups, 0, 2, "SS")) && cn_mobile(first))
        return add_phone(phone, 2, !hyphens);
    if (size == 2 && memcmp(first, "86", 2) == 0 && size_of(groups, 1) == 11 &&
        (groups->separators[1] == 'H' || groups->separators[1] == 'S') &&
        cn_mobile((const char *)text->data + groups->starts[1]))
        return add_phone(phone, 1, 1);
    if (size == 3 && (memcmp(first, "400", 3) == 0 || memcmp(first, "800", 3) == 0) && hyphens &&
        (sizes_are(groups, 0, "334") || sizes_are(groups, 0, "343")))
        return add_phone(phone, 2, 0);
    return 0;
}

static int after_hexadecimal(const groups_t *groups) {
    const text_t *text = groups->text;
    int64_t place = groups->starts[0];
    int letter = class_at(text, place - 2);
    return at(text, place - 1) == ' ' && (letter & C_HEX) && (letter & C_LETTER) && is_digit(text, place - 3) &&
           no_identifier(text, place - 4);
}

static int french(phone_t *phone) {
    const groups_t *groups = phone->groups;
    if (!sizes_are(groups, 0, "22222") || !one_of(groups->separators[1], "SDH") ||
        !between_are_all(groups, 0, 4, groups->separators[1]))
        return 0;
    if (digit_at(groups, 0, 0) != '0' || digit_at(groups, 0, 1) == '0') return 0;
    if (digit_at(groups, 1, 0) == '0' && digit_at(groups, 1, 1) == '0') return 0;
    return !after_hexadecimal(groups) && add_phone(phone, 4, 1);
}

static int with_trunk(phone_t *phone) {
    const groups_t *groups = phone->groups;
    int size = size_of(groups, 0);
    if (digit_at(groups, 0, 0) != '0' || size < 2 || digit_at(groups, 0, 1) == '0') return 0;
    int opened = at(groups->text, groups->starts[0] - 1) == '(';
    if (groups->count == 1) return size >= 9 && size <= 12 && likely(phone) && add_phone(phone, 0, 1);
    if (size < 3 || size > (opened ? 6 : 5) || (groups->separators[1] == 'P') != opened) return 0;
    if (groups->count == 2 && size == 5 && size_of(groups, 1) == 4 && groups->separators[1] == 'H' && !likely(phone))
        return 0;
    int tight = 1;
    while (tight + 1 < groups->count && groups->separators[tight + 1] == 'H') tight++;
    for (int try = 0; try < 2; try++) {
        int last = try == 0 ? groups->count - 1 : tight, alone = try == 0;
        if (last > 5 || (!alone && groups->separators[1] == 'S')) continue;
        int known_signs = 1, total = size, least = 99, most = 0;
        for (int group = 1; group <= last; group++) {
            int part = size_of(groups, group);
            known_signs &= one_of(groups->separators[group], "SHLP");
            total += part;
            least = part < least ? part : least;
            most = part > most ? part : most;
        }
        if (!known_signs || total < 9 || total > 12 || least < 2 || most > 8) continue;
        if ((total == 9 || total == 12) && between_are_all(groups, 0, last, 'S') && !likely(phone)) continue;
        if (add_phone(phone, last, alone)) return 1;
    }
    return 0;
}

static int after_a_word(phone_t *phone) {
    const groups_t *groups = phone->groups;
    int last = groups->count - 1, total = 0, dots = 0;
    if (last > 7) return 0;
    for (int group = 0; group <= last; group++) {
        total += size_of(groups, group);
        if (group && !one_of(groups->separators[group], "SHDLPOT")) return 0;
        dots += groups->separators[group] == 'D';
    }
    if (total < 7 || total > 15 || (last == 3 && dots == 3)) return 0;
    if (sizes_are(groups, 0, "422") || sizes_are(groups, 0, "224") || sizes_are(groups, 0, "124") ||
        sizes_are(groups, 0, "214"))
        return 0;
    return cued(groups->text, groups->starts[0], phone->scan->lists, SURE_PHONE_CUES) && add_phone(phone, last, 1);
}

/* Look for all numbers at `place`, where digits begin. Six digits are within 24 bytes: the caller has counted. */
static void find_number(scan_t *scan, int64_t place) {
    const text_t *text = &scan->text;
    int lettered = find_lettered(scan, place);
    groups_t groups;
    groups_read(&groups, text, place);
    phone_t phone = {scan, &groups, -1, -1};
    if (at(text, place - 1) == '+') {
        international(&phone, 0);
        return;
    }
    if (!begins(&groups)) return;
    if (!lettered && !find_in_one(scan, &groups) && !find_nir(scan, place)) find_in_groups(scan, &groups);
    if (digit_at(&groups, 0, 0) == '0' && size_of(&groups, 0) > 1 && digit_at(&groups, 0, 1) == '0') {
        if (groups.count > 1 || said(&phone)) international(&phone, 2);
        return;
    }
    if (north_american(&phone) || chinese(&phone) || french(&phone) || with_trunk(&phone)) return;
    after_a_word(&phone);
}

#endif
