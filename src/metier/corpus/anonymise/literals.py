"""Words that the scanner looks for, and what it does where it finds one.

A word is looked for where letters or digits begin (also within an identifier: `dbPassword`, `DB_PASSWORD`), and at
every character of another script, so a Chinese word is found wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from metier.corpus.anonymise.characters import ALNUM, DIGITS, HEX, UPPER


class Act(IntEnum):
    """What is done with a word that was found. Numbers are part of the kernel: only append."""

    REPORT = 0  # the place is given to the caller: cues of names and addresses, an own word list
    KEY = 1  # characters of one set follow, of a number between two bounds
    TOKEN = 2  # a JSON Web Token: three parts of base64 between dots
    BLOCK = 3  # the first line of a private key in PEM
    PASSWORD = 4  # a password may follow
    SECRET = 5  # a long random value may follow: `api_key = ...`
    BEARER = 6  # such a value may follow directly: `Bearer ...`
    DOCUMENT = 7  # the number of an identity card or passport may follow


class Cue(IntEnum):
    """What a word that is reported speaks of: the argument of a REPORT literal."""

    TITLE = 1  # Mr., Frau: a name follows
    SALUTATION = 2  # Dear, Liebe
    HEADER = 3  # "Customer:", a person's name for certain
    FIELD = 4  # "Name:", perhaps a person's
    CLOSING = 5  # "Best regards," and a name on the next line
    GIVEN = 6  # a given name that is no word
    GIVEN_WORD = 7  # a given name that is also a word: Mark, Rose
    ZH_TITLE = 8  # 先生: a name stands before
    ZH_HEADER = 9  # 姓名, 联系人: a name follows
    STREET = 10  # Street, Avenue
    STATE = 11  # "NY " before a ZIP code
    PROVINCE = 12  # 广东
    HOUSE = 13  # a house number beside a street's name; given by the scanner, not by a word
    OWN = 14  # of the user's list
    FAMILY = 15  # a family name, as in a table of people


class Where(IntEnum):
    """What must stand beside a word for it to be reported: the `digits` of a REPORT literal."""

    ANYWHERE = 0
    BEFORE_DIGIT = 1
    BEFORE_NAME = 2  # a space or hyphen, and a capital, another script, or the beginning of "von", "de", "la", "zu"
    IN_CELL = 3  # a space before; up to two spaces and a separator, a line end or the end after
    BEFORE_COLON = 4  # perhaps with a space between


class Literal(NamedTuple):
    """A word, what to do, for REPORT which cue it is and where, for KEY the characters, bounds and digits needed."""

    text: bytes
    act: Act
    argument: int = 0
    fewest: int = 0
    most: int = 0
    digits: int = 0


CHARSETS: tuple[frozenset[int], ...] = (
    ALNUM,
    ALNUM | frozenset(b"_"),
    ALNUM | frozenset(b"_-"),
    UPPER | DIGITS,
    frozenset(b"0123456789abcdef"),
    ALNUM | frozenset(b"-"),
    ALNUM | frozenset(b"_-."),
    HEX,
)
_ALNUM, _WORD, _BASE64URL, _CAPITALS, _HEX, _HYPHENED, _DOTTED, _ANY_HEX = range(8)

# Prefix, characters after it, fewest and most of them, digits needed among them. From the issuers' own descriptions:
# AWS IAM identifiers, GitHub and GitLab token formats, Slack token types, Stripe API keys, Google API and OAuth keys,
# and so on. Where an ordinary word begins in the same way, digits tell the two apart.
_KEYS: tuple[tuple[str, int, int, int, int], ...] = (
    *((prefix, _CAPITALS, 16, 16, 0) for prefix in ("AKIA", "AROA", "AIDA", "AGPA", "ANPA", "ABIA")),
    ("ASIA", _CAPITALS, 16, 16, 1),
    *((f"gh{kind}_", _ALNUM, 36, 255, 0) for kind in "pousr"),
    ("github_pat_", _WORD, 22, 255, 0),
    *((f"gl{kind}-", _DOTTED, 20, 255, 1) for kind in ("pat", "dt", "rt", "ptt", "soat", "cbt", "ft", "imt", "agent")),
    *((f"xox{kind}-", _HYPHENED, 10, 255, 2) for kind in "abeoprs"),
    ("xapp-", _HYPHENED, 10, 255, 2),
    *((f"{kind}_{mode}_", _ALNUM, 16, 255, 1) for kind in ("sk", "rk", "pk") for mode in ("live", "test")),
    ("whsec_", _ALNUM, 24, 64, 1),
    ("AIza", _BASE64URL, 35, 35, 0),
    ("GOCSPX-", _BASE64URL, 28, 28, 0),
    ("ya29.", _BASE64URL, 20, 512, 1),
    ("sk-", _BASE64URL, 20, 255, 3),
    ("hf_", _ALNUM, 30, 64, 1),
    ("npm_", _ALNUM, 36, 36, 1),
    ("pypi-", _BASE64URL, 60, 512, 1),
    ("dop_v1_", _HEX, 64, 64, 0),
    ("shpat_", _ANY_HEX, 32, 32, 0),
    ("SG.", _DOTTED, 60, 80, 2),
    ("LTAI", _ALNUM, 12, 24, 1),
    ("AKID", _ALNUM, 32, 32, 1),
)

_PASSWORD_WORDS = (
    "password passwd pwd passphrase passcode passwort kennwort contraseña motdepasse mot_de_passe mot-de-passe "
    "userpassword userpass dbpass"
)
_PASSWORD_CHINESE = "密码 口令 密碼"
_SECRET_WORDS = (
    "api_key apikey api-key secret_key secretkey secret-key access_key accesskey access-key access_token accesstoken "
    "access-token auth_token authtoken auth-token client_secret clientsecret client-secret private_key privatekey "
    "refresh_token refresh-token encryption_key signing_key account_key accountkey secret token authorization "
    "credential credentials appsecret app_secret app-secret apptoken bot_token webhook_secret secret_access_key"
)
_SECRET_CHINESE = "密钥 秘钥 令牌 私钥 密鑰"
_DOCUMENT_WORDS = "personalausweis ausweis reisepass passport identity_card id_card perso ausweisnummer passnummer"
_DOCUMENT_CHINESE = "护照 通行证"
_OTHER_SECRET_FORMS = (b"API key", b"API Key", b"API-Key", b"API-KEY", b"API token", b"API Token")
_OTHER_DOCUMENT_FORMS = (b"ID card", b"ID Card", b"ID-Card")


def written(words: str) -> Iterable[bytes]:
    """Return the forms of each word: small, with a capital, all capitals, and `_` also as a space or in camelCase."""
    forms: dict[str, None] = {}
    for word in words.split():
        parts = word.split("_")
        for joined in {word, word.replace("_", " ")} if len(parts) > 1 else {word}:
            forms |= dict.fromkeys((joined, joined.capitalize(), joined.title(), joined.upper()))
        forms |= dict.fromkeys((parts[0] + "".join(part.capitalize() for part in parts[1:]),))
        forms |= dict.fromkeys(("".join(part.capitalize() for part in parts),))
    return (form.encode() for form in sorted(forms))


def secret_literals() -> list[Literal]:
    """Return the words that lead to keys, passwords, and the numbers of identity cards and passports."""
    found = [
        Literal(prefix.encode(), Act.KEY, charset, fewest, most, digits)
        for prefix, charset, fewest, most, digits in _KEYS
    ]
    found += [Literal(b"eyJ", Act.TOKEN), Literal(b"BEGIN", Act.BLOCK), Literal(b"Bearer ", Act.BEARER)]
    found += [Literal(text, Act.SECRET) for text in _OTHER_SECRET_FORMS]
    found += [Literal(text, Act.DOCUMENT) for text in _OTHER_DOCUMENT_FORMS]
    for latin, chinese, act in (
        (_PASSWORD_WORDS, _PASSWORD_CHINESE, Act.PASSWORD),
        (_SECRET_WORDS, _SECRET_CHINESE, Act.SECRET),
        (_DOCUMENT_WORDS, _DOCUMENT_CHINESE, Act.DOCUMENT),
    ):
        found += [Literal(text, act) for text in (*written(latin), *(word.encode() for word in chinese.split()))]
    return found
