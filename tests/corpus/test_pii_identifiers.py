"""Check digits: numbers from the issuers' own examples hold, and one changed digit breaks them."""

from __future__ import annotations

import pytest

from metier.corpus.anonymise import identifiers

# Numbers that their issuers or ISO print as examples, or that follow from the rule by hand.
GOOD = {
    "card": ["4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "30569309025904"],
    "iban": ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606", "NO9386011117947"],
    "us_ssn": ["219099999", "123456789"],
    "de_tax_id": ["86095742719", "47036892816", "65929970489"],
    "de_id_card": ["T220001293", "L01X00T471"],
    "fr_nir": ["255081416802538", "195052A00400374"],
    "es_dni": ["12345678Z", "00000000T"],
    "es_nie": ["X1234567L", "Y0000000Z"],
    "it_codice_fiscale": ["RSSMRA85T10A562S", "MRTMTT91D08F205J"],
    "uk_nino": ["AB123456C", "JG103759A"],
    "cn_resident_id": ["11010519491231002X"],
}
NEVER_ISSUED = {
    "card": ["4111111111111112", "1234567812345670", "0000000000000000", "411111111111111"],
    "iban": ["DE88370400440532013000", "DE8937040044053201300", "XX89370400440532013000"],
    "us_ssn": ["000456789", "666456789", "900456789", "123006789", "123450000"],
    "de_tax_id": ["06095742719", "86095742710", "11111111111", "12345678901"],
    "de_id_card": ["T220001290", "A220001293", "T22000129X"],
    "fr_nir": ["355081416802538", "255131416802538", "255081416802539"],
    "es_dni": ["12345678A", "1234567Z"],
    "es_nie": ["X1234567A", "A1234567L"],
    "it_codice_fiscale": ["RSSMRA85T10A562T", "RSSMRA85Z10A562S", "RSSMRA85T72A562S", "RSSMRA85T00A562S"],
    "uk_nino": ["GB123456C", "QQ123456C", "AB123456E", "DA123456A"],
    "cn_resident_id": [
        "11010519490231002X",
        "991105194912310020",
        "110105194912310020",
        "11010519491231002",
        "440524188001010014",
    ],
}


@pytest.mark.parametrize("rule", GOOD)
def test_examples_hold(rule: str) -> None:
    check = getattr(identifiers, rule)
    for number in GOOD[rule]:
        assert check(number), number


@pytest.mark.parametrize("rule", NEVER_ISSUED)
def test_what_was_never_issued_does_not_hold(rule: str) -> None:
    check = getattr(identifiers, rule)
    for number in NEVER_ISSUED[rule]:
        assert not check(number), number


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("luhn", "79927398713"),
        ("iban", "DE89370400440532013000"),
        ("de_tax_id", "86095742719"),
        ("fr_nir", "255081416802538"),
        ("cn_resident_id", "110105194912310003"),
        ("es_dni", "12345678Z"),
    ],
)
def test_any_one_digit_changed_is_noticed(rule: str, number: str) -> None:
    check = getattr(identifiers, rule)
    assert check(number)
    for place in range(2 if rule == "iban" else 0, len(number)):
        if not number[place].isdigit():
            continue
        for digit in "0123456789":
            other = number[:place] + digit + number[place + 1 :]
            assert check(other) == (other == number), other


def test_the_luhn_digit_by_hand() -> None:
    # 7992739871, doubled from the right: 1→2, 8→16→7, 3→6, 2→4, 9→18→9; with the others 67, and 3 fills up to 70.
    assert identifiers.luhn("79927398713")


def test_the_tax_id_must_repeat_exactly_one_digit() -> None:
    # 86095742719 repeats 7; the same digits without a repetition, or with two, are none whatever the last digit.
    for body in ("8609574213", "8866095742", "1123456778"):
        assert not any(identifiers.de_tax_id(body + last) for last in "0123456789")
