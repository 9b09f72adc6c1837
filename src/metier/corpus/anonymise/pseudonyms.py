"""Stand-ins: for one value always the same, of the same kind and form, and not to be worked out without the key."""

from __future__ import annotations

import re
from functools import lru_cache

from metier.corpus.anonymise import fiction
from metier.corpus.anonymise.characters import LETTERS
from metier.corpus.anonymise.fiction import Draw
from metier.corpus.anonymise.gazetteer import FAMILY_NAMES, ZH_FAMILY, ZH_FAMILY_OF_TWO, given_names
from metier.corpus.anonymise.kinds import LANGUAGES, SORTS, Code

_GIVEN = tuple(sorted(name for name in given_names(("en", "de", "fr", "es", "it"))[0] if name.isascii()))
_KNOWN_GIVEN = frozenset().union(*given_names(LANGUAGES))
_FAMILY = tuple(sorted(FAMILY_NAMES))
_ZH_GIVEN = "伟芳娜敏静丽强磊洋艳勇军杰娟涛明超秀霞平刚桂英华玉兰红健林玲辉波斌莉鑫浩宇轩晨雪梅佳慧颖婷琳欣悦博文思远"
_ZH_FAMILY = tuple(sorted(ZH_FAMILY))
_ZH_FAMILY_OF_TWO = tuple(sorted(ZH_FAMILY_OF_TWO))
_TOWNS = (
    "Ashford Birchwood Clearwater Dunmore Eastvale Fairhaven Greenfield Hollins Ivydale Kingsmere Larkfield "
    "Millbrook Northam Oakhurst Pinewood Quarrydale Redcliff Southwick Thornbury Underhill Valemont Westbrook Yarrow "
    "Lindental Eichberg Rosenau Tannfeld Buchenau Sonnthal Belmont Clairval Montrieux Rochefleur Valbelle"
)
_TOWN_NAMES = tuple(_TOWNS.split())
_ZH_PLACES = "云溪 清河 东岭 西塘 南屏 北川 永宁 和顺 青石 白鹭 丰泽 长乐 安平 新桥 柳园 松岗 梅林 竹园 金水 银湖"
_ZH_PLACE_NAMES = tuple(_ZH_PLACES.split())
# What a run of Chinese characters in an address is replaced by, a name at a time: all but what says province or street.
_ZH_NAME = re.compile(r"[^省市区县旗州盟镇乡村路街道巷弄号座栋幢楼层室单元自治特别行政壮族回维吾尔]+")
# Parts of an address that say what it is, not where.
_KEPT = (
    "street st avenue ave boulevard blvd road rd lane ln drive court terrace parkway square highway crescent apt "
    "apartment suite ste unit flat floor room po box rue chemin place allée impasse quai cours route passage voie "
    "bis ter de du des la le les am an der bei im in ob sur sous straße strasse allee gasse platz weg ring damm ufer "
    "chaussee saint sainte"
)
_KEPT_WORDS = frozenset(_KEPT.split())
_GERMAN_ENDING = re.compile(r"(?:stra(?:ß|ss)e|str\.?|allee|gasse|platz|weg|ring|damm|ufer|chaussee|steig|graben)$")
_DOMAINS = ("example.com", "example.net", "example.org")
_CACHED = 65_536


class Pseudonyms:
    """Make the stand-ins of values.

    Two values may by chance share a stand-in: two e-mail addresses hardly ever, two American telephone numbers one
    time in eighty thousand, as no more numbers are kept for fiction.

    Args:
        key: at least 16 bytes; with another key every stand-in is another.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.of = lru_cache(_CACHED)(self._of)

    def _of(self, code: Code, value: str) -> str:
        """Return the stand-in of a value."""
        if code == Code.NAME:
            return self._name(value)
        if code == Code.ADDRESS:
            return self._address(value)
        if code == Code.EMAIL:
            return self._email(value)
        plain = "".join(character for character in value if character.isalnum()).casefold()
        draw = self._draw(code, plain)
        if code == Code.PHONE:
            return fiction.phone(value, draw)
        if code == Code.IP:
            return fiction.ip(value, self._draw(code, value.lower()))
        if code == Code.MAC:
            return fiction.mac(value, draw)
        if code in (Code.PASSWORD, Code.KEY, Code.CREDENTIALS, Code.WORD):
            return self._secret(code, value)
        return fiction.number(code, value, draw)

    def _draw(self, code: Code, *what: str) -> Draw:
        return Draw(self._key, SORTS[code].label, *what)

    def _email(self, value: str) -> str:
        local, _, domain = value.casefold().rpartition("@")
        draw = self._draw(Code.EMAIL, local, domain)
        name = f"{draw.one_of(_GIVEN)}.{draw.one_of(_FAMILY)}".lower()
        ascii_name = "".join(character for character in name if character.isascii())
        return f"{ascii_name}{draw.digits(4)}@{self._draw(Code.EMAIL, domain).one_of(_DOMAINS)}"

    def _name(self, value: str) -> str:
        """Return another name, word for word: a family name gets the same stand-in with and without a given name."""
        if value and not value[0].isascii() and value[0] >= "\u3000":
            return self._chinese_name(value)
        words = value.split(" ")
        made = []
        for number, word in enumerate(words):
            if word.islower() or not word[:1].isalpha():
                made.append(word)  # von, de la
            elif len(word) == 2 and word.endswith("."):
                made.append(self._draw(Code.NAME, word).one_of("ABCDEFGHJKLMNPRSTVW") + ".")
            else:
                last = number == len(words) - 1
                given = (not last or len(words) == 1) and (not last or word in _KNOWN_GIVEN)
                parts = (self._word(part, given) for part in word.split("-"))
                made.append("-".join(parts))
        return " ".join(made)

    def _word(self, word: str, given: bool) -> str:
        draw = self._draw(Code.NAME, "given" if given else "family", word.casefold())
        chosen = draw.one_of(_GIVEN if given else _FAMILY)
        return chosen.upper() if word.isupper() and len(word) > 1 else chosen

    def _chinese_name(self, value: str) -> str:
        size = 2 if value[:2] in ZH_FAMILY_OF_TWO else 1
        family = self._draw(Code.NAME, "family", value[:size]).one_of(_ZH_FAMILY_OF_TWO if size == 2 else _ZH_FAMILY)
        draw = self._draw(Code.NAME, "given", value)
        return family + "".join(draw.one_of(_ZH_GIVEN) for _ in value[size:])

    def _address(self, value: str) -> str:
        """Return another address of the same build: other names, other numbers, the words of addresses kept."""
        key = " ".join(value.casefold().replace(",", " ").split())
        draw = self._draw(Code.ADDRESS, key)
        pieces = re.findall(r"[^\W\d_]+\.?|\d+|.", value, re.DOTALL)
        return "".join(self._piece(piece, draw) for piece in pieces)

    def _piece(self, piece: str, draw: Draw) -> str:
        if piece.isdigit():
            # American ZIP codes below 00501 are not in use; a number of five digits elsewhere may be.
            return "00" + draw.digits(3) if len(piece) == 5 else str(1 + draw.below(9)) + draw.digits(len(piece) - 1)
        if (
            not piece[0].isalpha()
            or piece.casefold().rstrip(".") in _KEPT_WORDS
            or (piece.isupper() and len(piece) < 3)
        ):
            return piece
        if "\u3400" <= piece[0] <= "\u9fff":
            return _ZH_NAME.sub(lambda name: draw.one_of(_ZH_PLACE_NAMES), piece)
        ending = _GERMAN_ENDING.search(piece)
        name = draw.one_of(_TOWN_NAMES)
        return name + ending[0] if ending else name

    def _secret(self, code: Code, value: str) -> str:
        draw = self._draw(code, value)
        if code == Code.CREDENTIALS:
            name, _, password = value.partition(":")
            return f"{draw.one_of(_GIVEN).lower() if name else ''}:{draw.like(password)}"
        if value.startswith("-----BEGIN"):
            lines = value.split("\n")
            return "\n".join(line if line.startswith("-----") else draw.like(line) for line in lines)
        if code == Code.KEY:
            prefix = re.match(r"(?:[A-Za-z]{2,11}[-_.]){1,2}|AKIA|ASIA|A[A-Z]{2}A|AIza|LTAI|eyJ", value)
            start = prefix[0] if prefix else ""
            if re.fullmatch(r"[0-9a-f-]+", value):
                return re.sub(r"[0-9a-f]", lambda digit: f"{draw.below(16):x}", value)
            return start + draw.like(value[len(start) :])
        if code == Code.WORD and not any(ord(character) in LETTERS for character in value):
            return draw.one_of(_ZH_PLACE_NAMES) + draw.digits(2)
        return draw.like(value)
