"""Stand-ins: stable under a key, of the same form, and no one's."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.corpus.anonymise import identifiers
from metier.corpus.anonymise.fiction import Draw
from metier.corpus.anonymise.finder import Finder, Wanted
from metier.corpus.anonymise.kinds import Code
from metier.corpus.anonymise.pseudonyms import Pseudonyms

KEY = b"a key of the tests, 32 bytes long"
VALUES: list[tuple[Code, str]] = [
    (Code.EMAIL, "anna.schmidt@firma.de"),
    (Code.PHONE, "(415) 682-1234 x77"),
    (Code.PHONE, "+49 (0)30 1234567"),
    (Code.PHONE, "01 42 68 53 00"),
    (Code.PHONE, "020 7946 0958"),
    (Code.PHONE, "+86 138-1234-5678"),
    (Code.IP, "52.29.7.118"),
    (Code.IP, "fe80::1ff:fe23:4567:890a"),
    (Code.MAC, "00:1B:22:33:44:56"),
    (Code.CARD, "4111 1111 1111 1111"),
    (Code.IBAN, "DE89 3704 0044 0532 0130 00"),
    (Code.US_SSN, "123-45-6789"),
    (Code.DE_TAX, "86 095 742 719"),
    (Code.DE_CARD, "L01X00T471"),
    (Code.FR_NIR, "255081416802538"),
    (Code.ES_DNI, "12345678Z"),
    (Code.ES_NIE, "X1234567L"),
    (Code.IT_CF, "RSSMRA85T10A562S"),
    (Code.UK_NINO, "AB 12 34 56 C"),
    (Code.CN_RESIDENT, "11010519491231002X"),
    (Code.PASSPORT, "E12345678"),
    (Code.PASSWORD, "s3cr3t!X"),
    (Code.KEY, "AKIAIOSFODNN7EXAMPLE"),
    (Code.KEY, "a9f8e7d6c5b4a3f2e1d0c9b8"),
    (Code.CREDENTIALS, "bob:s3cr3t"),
    (Code.NAME, "Anna von Schmidt"),
    (Code.NAME, "王小明"),
    (Code.ADDRESS, "Schmidtstraße 12a, 10115 Berlin"),
    (Code.WORD, "Nightjar-7"),
]


@pytest.mark.parametrize(("code", "value"), VALUES, ids=lambda value: str(value))
def test_the_same_value_and_key_give_the_same_stand_in_and_another_key_another(code: Code, value: str) -> None:
    made = Pseudonyms(KEY).of(code, value)
    assert made == Pseudonyms(KEY).of(code, value) != value
    assert any(made != Pseudonyms(f"another key, number {number:03}".encode()).of(code, value) for number in range(3))


FORMED = [
    (code, value)
    for code, value in VALUES
    if code not in (Code.EMAIL, Code.NAME, Code.ADDRESS, Code.IP, Code.CREDENTIALS, Code.FR_NIR, Code.CN_RESIDENT)
]


@pytest.mark.parametrize(("code", "value"), FORMED, ids=lambda value: str(value))
def test_the_form_stays(code: Code, value: str) -> None:
    def form(text: str) -> str:
        return re.sub("[0-9A-Za-z]", "9", text)

    assert form(Pseudonyms(KEY).of(code, value)) == form(value)


@pytest.mark.parametrize(
    ("code", "check"),
    [
        (Code.CARD, identifiers.card),
        (Code.IBAN, identifiers.iban),
        (Code.US_SSN, identifiers.us_ssn),
        (Code.DE_TAX, identifiers.de_tax_id),
        (Code.DE_CARD, identifiers.de_id_card),
        (Code.FR_NIR, identifiers.fr_nir),
        (Code.ES_DNI, identifiers.es_dni),
        (Code.ES_NIE, identifiers.es_nie),
        (Code.IT_CF, identifiers.it_codice_fiscale),
        (Code.UK_NINO, identifiers.uk_nino),
        (Code.CN_RESIDENT, identifiers.cn_resident_id),
    ],
)
def test_no_number_of_a_person_can_have_been_given_out(code: Code, check: Callable[[str], bool]) -> None:
    value = next(value for known, value in VALUES if known == code)
    for number in range(200):
        made = Pseudonyms(f"key number {number:05} of the test".encode()).of(code, value)
        assert not check("".join(filter(str.isalnum, made))), made


def test_telephone_numbers_are_those_kept_for_fiction() -> None:
    of = Pseudonyms(KEY).of
    assert re.fullmatch(r"\([2-9]\d\d\) 555-01\d\d x\d\d", of(Code.PHONE, "(415) 682-1234 x77"))
    assert re.fullmatch(r"\+1 [2-9]\d\d 555 01\d\d", of(Code.PHONE, "+1 415 682 1234"))
    assert re.fullmatch(r"01 99 00 \d\d \d\d", of(Code.PHONE, "01 42 68 53 00"))
    assert re.fullmatch(r"\+33 6 39 98 \d\d \d\d", of(Code.PHONE, "+33 6 42 68 53 00"))
    assert re.fullmatch(r"07700 900\d{3}", of(Code.PHONE, "07911 123456"))
    assert re.fullmatch(r"140\d{8}", of(Code.PHONE, "13812345678"))
    assert of(Code.PHONE, "+39 06 1234 5678").startswith("+39 00")


def test_addresses_of_the_net_are_reserved_ones_and_private_ones_stay_private() -> None:
    of = Pseudonyms(KEY).of
    assert ipaddress.ip_address(of(Code.IP, "52.29.7.118")).is_reserved
    assert ipaddress.ip_address(of(Code.IP, "2a02:8108::1")) in ipaddress.ip_network("2001:db8::/32")
    for private in ("10.1.2.3", "192.168.7.8", "172.20.1.1"):
        assert ipaddress.ip_address(of(Code.IP, private)).is_private
    assert int(of(Code.MAC, "00:1B:22:33:44:56")[:2], 16) & 3 == 2  # locally administered, one station
    assert re.fullmatch(r"[a-z]+\.[a-zöüäß]+\d{4}@example\.(com|net|org)", of(Code.EMAIL, "a.b@firma.de"))


def test_a_family_name_stays_the_same_with_and_without_the_given_name() -> None:
    of = Pseudonyms(KEY).of
    full = of(Code.NAME, "Anna Schmidtke").split()
    assert full[1] == of(Code.NAME, "Schmidtke") and full[0] == of(Code.NAME, "Anna")
    assert of(Code.NAME, "J. von Schmidtke").split()[1:] == ["von", full[1]]
    assert of(Code.NAME, "王小明")[0] == of(Code.NAME, "王") and len(of(Code.NAME, "欧阳娜娜")) == 4


def test_one_telephone_number_written_in_two_ways_is_one_number() -> None:
    of = Pseudonyms(KEY).of
    assert re.sub(r"\D", "", of(Code.PHONE, "415-682-1234")) == re.sub(r"\D", "", of(Code.PHONE, "(415) 682-1234"))


def test_stand_ins_are_of_their_kind_to_the_finder_too() -> None:
    finder = Finder(Wanted())
    for code, value in ((Code.EMAIL, "a.b@firma.de"), (Code.PHONE, "(415) 682-1234"), (Code.NAME, "Anna Schmidtke")):
        made = Pseudonyms(KEY).of(code, value)
        text = f"Dear {made}, hello" if code == Code.NAME else f"phone {made} then"
        assert [span.code for span in finder(pa.array([text]))[0]] == [code]


@given(st.binary(min_size=16, max_size=40), st.text(max_size=20), st.integers(1, 1000))
def test_a_draw_stays_below_its_limit_and_repeats(key: bytes, what: str, limit: int) -> None:
    one, other = Draw(key, what), Draw(key, what)
    some = [one.below(limit) for _ in range(40)]
    assert some == [other.below(limit) for _ in range(40)] and all(0 <= number < limit for number in some)


def test_draws_are_even() -> None:
    draw = Draw(KEY, "even")
    counts = [0] * 10
    for _ in range(20_000):
        counts[draw.below(10)] += 1
    # Chi-squared with 9 degrees of freedom is below 27.9 in 999 of 1000 cases.
    assert sum((count - 2000) ** 2 / 2000 for count in counts) < 27.9
