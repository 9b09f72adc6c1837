"""A labelled set of personal data: Faker's values and checksummed numbers in texts of a working day.

`python -m benchmarks.corpus.pii_set FOLDER` writes tuning.jsonl and reported.jsonl. The two share no template and no
seed. A row is {text, locale, spans: [[start, end, kind, form]]} with offsets in characters.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.corpus.pii_templates import REPORTED, TUNING, TUNING_TOO

SEEDS = {"tuning": 11, "reported": 90_001}
_GAP = re.compile(r"\{([a-z_0-9]+)(?::([a-z_]+))?\}")
_ALNUM = string.ascii_letters + string.digits
_STRUCTURED_FORMS = {
    "ssn": "id",
    "nino": "id",
    "steuer_id": "id",
    "personalausweis": "id",
    "nir": "id",
    "resident_id": "id",
    "ipv6": "ip",
    "surname": "name",
}


class Labelled(NamedTuple):
    """A text and what is personal in it: (start, end, kind, form), in characters."""

    text: str
    locale: str
    spans: list[tuple[int, int, str, str]]


def labelled(family: str, documents: int) -> Iterator[Labelled]:
    """Yield labelled texts of a family ("tuning" or "reported"), the locales in turn, a fifth without any span."""
    from faker import Faker

    both = {locale: TUNING[locale] + TUNING_TOO[locale] for locale in TUNING}
    templates = both if family == "tuning" else REPORTED
    rng = random.Random(SEEDS[family])
    fakers: dict[str, Any] = {locale: Faker(locale if locale != "none" else "en_US") for locale in templates}
    for number, faker in enumerate(fakers.values()):
        faker.seed_instance(SEEDS[family] + number)
    locales = list(templates)
    for number in range(documents):
        locale = locales[number % len(locales)]
        yield _filled(rng.choice(templates[locale]), locale, fakers[locale], rng)


def _filled(template: str, locale: str, faker: Any, rng: random.Random) -> Labelled:
    parts, spans, size, last = [], [], 0, 0
    for gap in _GAP.finditer(template):
        kind, form = gap.groups()
        if kind not in VALUES:
            continue
        value = VALUES[kind](faker, rng, locale, form)
        parts += [template[last : gap.start()], value]
        size += gap.start() - last
        spans.append((size, size + len(value), _STRUCTURED_FORMS.get(kind, kind), form or kind))
        size, last = size + len(value), gap.end()
    return Labelled("".join([*parts, template[last:]]), locale, spans)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _phone(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    if locale == "en_US":
        if form != "plain" and rng.random() < 0.2:
            return rng.choice(["+44 20 7946 0{}", "020 7946 0{}", "07700 900{}", "+44 7700 900{}"]).format(
                _digits(rng, 3)
            )
        return str(faker.phone_number())
    if locale == "zh_CN":
        mobile = str(faker.phone_number())
        return rng.choice(
            [mobile] * 5
            + [f"+86 {mobile}", f"+86{mobile}", f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}", f"010-8{_digits(rng, 7)}"]
            + [f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}", f"0755-2{_digits(rng, 7)}", f"(021)6{_digits(rng, 7)}"]
        )
    while True:
        number = str(faker.phone_number())
        # Faker also makes numbers that no network could dial, such as 00008063608.
        if not re.match(r"\(?0+0|\+\d+ ?\(0\) ?0|\+\d\d ?0", number):
            return number


def _address(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    while True:
        found = str(faker.address())
        if not re.match(r"(?:PSC|Unit|USS|USN|USC|DPO)", found):
            return found if rng.random() < 0.5 else found.replace("\n", ", ")


def _card(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    while True:
        # Faker also makes debit cards of 12 or 13 digits that no one prints any more, and JCB cards outside the
        # issuer's range, which is 3528 to 3589.
        number = str(faker.credit_card_number())
        debit = re.match("50|5[6-8]|6304|6759|676", number)
        if (
            len(number) >= 14
            and number[0] in "3456"
            and not debit
            and (number[:2] != "35" or "3528" <= number[:4] <= "3589")
        ):
            break
    if len(number) == 16 and rng.random() < 0.5:
        return rng.choice(" -").join(number[at : at + 4] for at in range(0, 16, 4))
    return number


def _ip(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    kind = rng.random()
    if kind < 0.15 and form is None:
        return _ipv6(faker, rng, locale, form)
    while True:
        address = str(faker.ipv4_private() if kind < 0.4 else faker.ipv4_public())
        if (
            not address.startswith(("127.", "192.0.2.", "198.51.100.", "203.0.113.", "0."))
            and int(address.split(".")[0]) < 224
        ):
            return address


def _ipv6(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    if rng.random() < 0.5:
        return "fe80::" + ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(4))
    return "2a02:8108:" + ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(6))


def _mac(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    digits = [f"{rng.randrange(256):02x}" for _ in range(6)]
    digits[0] = f"{rng.choice([0x00, 0x3C, 0x9C, 0xAC, 0xD4]):02x}"
    return rng.choice([":".join(digits), ":".join(digits).upper()])


def _iban(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    number = str(faker.iban())
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4)) if rng.random() < 0.5 else number


def _steuer_id(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    digits = rng.sample(string.digits, 9)
    body = [*digits, rng.choice(digits)]
    while True:
        rng.shuffle(body)
        if body[0] != "0":
            break
    product = 10
    for digit in body:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    number = "".join(body) + str((11 - product) % 10)
    return number if rng.random() < 0.5 else f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"


def _personalausweis(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    alphabet = "CFGHJKLMNPRTVWXYZ"
    body = rng.choice("LMNPRTVWXY") + "".join(rng.choices(alphabet + string.digits * 2, k=8))
    check = sum(int(character, 36) * (7, 3, 1)[at % 3] for at, character in enumerate(body)) % 10
    return f"{body}{check}"


def _nir(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    body = f"{rng.choice('12')}{_digits(rng, 2)}{rng.randrange(1, 13):02d}{rng.randrange(1, 96):02d}{_digits(rng, 6)}"
    number = f"{body}{97 - int(body) % 97:02d}"
    if rng.random() < 0.5:
        return number
    return " ".join((number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]))


def _nino(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    prefix = rng.choice("ABCEGHJKLMNOPRSTWXYZ") + rng.choice("ABCEGHJKLMNPRSTWXYZ")
    if prefix in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
        prefix = "JH"
    pairs = [_digits(rng, 2) for _ in range(3)]
    return rng.choice([" ", ""]).join([prefix, *pairs, rng.choice("ABCD")])


def _name(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    # Faker's full names carry titles and double surnames at random; a Chinese one is a word.
    return str(faker.name()) if locale == "zh_CN" else f"{faker.first_name()} {faker.last_name()}"


def _ssn(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    return str(faker.ssn())


def _password(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    while True:
        value = str(faker.password(length=rng.randrange(8, 17), special_chars=form != "xml"))
        # As a person's would: no quotes of its own, and no comma or full stop at its end.
        if not set(value) & set("\"'`\\,;<>|&{}") and value[-1] not in ".:)]" and value[0] not in "$%(*[#":
            return value


def _credentials(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    return f"{faker.user_name()}:{''.join(rng.choices(_ALNUM, k=12))}1"


def _key(faker: Any, rng: random.Random, locale: str, form: str | None) -> str:
    def run(count: int, alphabet: str = _ALNUM) -> str:
        return "".join(rng.choices(alphabet, k=count))

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    makers: dict[str, Callable[[], str]] = {
        "aws": lambda: "AKIA" + run(16, string.ascii_uppercase + "234567"),
        "aws_secret": lambda: run(40, _ALNUM + "+/"),
        "hex": lambda: run(rng.choice([32, 40, 64]), "0123456789abcdef"),
        "github": lambda: rng.choice(["ghp_", "gho_", "ghs_"]) + run(36),
        "stripe": lambda: rng.choice(["sk_live_", "rk_live_", "sk_test_"]) + run(24),
        "slack": lambda: f"xoxb-{_digits(rng, 11)}-{_digits(rng, 12)}-{run(24)}",
        "google": lambda: "AIza" + run(35, _ALNUM + "_-"),
        "jwt": lambda: ".".join(
            (part({"alg": "HS256", "typ": "JWT"}), part({"sub": _digits(rng, 10), "iat": 1_700_000_000}), run(43))
        ),
        "pem": lambda: "\n".join(
            ["-----BEGIN RSA PRIVATE KEY-----", *(run(64) for _ in range(6)), "-----END RSA PRIVATE KEY-----"]
        ),
    }
    return makers[form or "hex"]()


Value = Callable[[Any, random.Random, str, str | None], str]
VALUES: dict[str, Value] = {
    "name": _name,
    "surname": lambda faker, rng, locale, form: str(faker.last_name()),
    "email": lambda faker, rng, locale, form: str(faker.ascii_email()),
    "phone": _phone,
    "address": _address,
    "card": _card,
    "ip": _ip,
    "ipv6": _ipv6,
    "mac": _mac,
    "iban": _iban,
    "ssn": _ssn,
    "nino": _nino,
    "steuer_id": _steuer_id,
    "personalausweis": _personalausweis,
    "nir": _nir,
    "resident_id": _ssn,
    "password": _password,
    "credentials": _credentials,
    "key": _key,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for family in SEEDS:
        rows = [json.dumps(row._asdict(), ensure_ascii=False) for row in labelled(family, 3_000)]
        (folder / f"{family}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
