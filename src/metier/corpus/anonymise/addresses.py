"""Postal addresses of the US and the UK, Germany, France and China, around a cue in them.

A street with its number is an address, with or without the town. A town alone is none.
"""

from __future__ import annotations

import re

from metier.corpus.anonymise.latin_names import Named
from metier.corpus.anonymise.literals import Cue

_STREETS = "Street St. Avenue Ave Boulevard Blvd Road Rd. Lane Ln. Drive Court Terrace Parkway Square Highway Crescent"
STREETS = tuple(_STREETS.split())
_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR "
    "PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR VI GU AS MP FM MH PW AA AE AP"
)
STATES = tuple(_STATES.split())
_PROVINCES = (
    "北京 上海 天津 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 "
    "湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 台湾 内蒙古 广西 西藏 宁夏 新疆 香港 澳门"
)
PROVINCES = tuple(_PROVINCES.split())

_UNIT = r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|#)\.? ?#?\w{1,6})"
_TO_ZIP = re.compile(
    r"(?:\d{1,6}[A-Za-z]?(?:-\d{1,4})? (?:[A-Z0-9#][\w.'’#-]{0,30}(?:,? |,?\r?\n ?)){1,9}?"
    r"|(?:P\.? ?O\.? Box|PSC|Unit|Box|US[A-Z]{1,4}) [\w ,]{1,24}?(?:, |\r?\n ?))?"
    r"(?:[A-Z][\w.'’-]{0,30} ){0,3}[A-Z][\w.'’-]{0,30},? [A-Z]{2} \d{5}(?:-\d{4})?$"
)
_ZIP = re.compile(r"\d{5}(?:-\d{4})?(?!\d)")
_BEFORE_STREET = re.compile(
    r"(?:" + _UNIT + r",? )?\d{1,6}[A-Za-z]?(?:-\d{1,4})?,? (?:[NSEW]\.? )?"
    r"(?:(?:[A-Z][\w.'’-]{0,30}|\d{1,3}(?:st|nd|rd|th)) ){1,4}$"
)
_AFTER_STREET = re.compile(
    r"\.?(?:,? " + _UNIT + r")?"
    r"(?:(?:,? |,?\r?\n ?)(?:[A-Z][\w.'’-]{0,30},? ?){1,3}"
    r"(?:[A-Z]{2} \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}))?"
)
_UPPER, _LETTER = "A-ZÄÖÜÀ-ÖØ-Þ", r"[\wäöüßÀ-ÿ'’.-]"
_GERMAN_STREET = re.compile(
    rf"(?<![\w.-])(?:[{_UPPER}]{_LETTER}{{0,40}}|(?:Am|An|Im|In|Zum|Zur|der|dem|den)(?= ))"
    rf"(?: {_LETTER}{{1,40}}){{0,3}} $"
)
_HOUSE = re.compile(r"\d{1,5}(?: ?[a-zA-Z](?!\w))?(?:[/-]\d{1,5}(?!\d))?")
_GERMAN_TOWN = re.compile(
    rf"(?:,? |,?\r?\n ?)(?:D-)?\d{{5}} [{_UPPER}]{_LETTER}{{1,40}}"
    rf"(?:[ -](?:(?:am|an|der|bei|im|in|ob)(?!\w)|[{_UPPER}]{_LETTER}{{1,40}})){{0,3}}"
)
_SURE_GERMAN = re.compile(r"(?:[sS]tra(?:ß|ss)e|[sS]tr\.|[aA]llee|[gG]asse|[cC]haussee) $")
_VOIE = "(?:rue|avenue|boulevard|chemin|place|allée|impasse|quai|cours|route|square|passage|voie)"
_DE = r"(?:(?:de|du|des|la|le|les|aux?|en|sur)(?!\w) ?|[ld]['’])"
_FRENCH_WORD = rf"[{_UPPER}]{_LETTER}{{1,40}}(?: (?:(?:de|du|des|la|le|et) )?(?=[{_UPPER}]))?"
_FRENCH_NAME = rf"{_DE}{{0,3}}(?:{_FRENCH_WORD}){{1,5}}"
_FRENCH = re.compile(rf"\d{{1,5}}(?: (?:bis|ter))?,? {_VOIE} {_FRENCH_NAME}")
_IN_TOWN = r"[ -](?:(?:sur|sous|les|la|le|de|du|des|en|lès)[ -])?"
_FRENCH_TOWN = re.compile(
    rf"(?:,? |,?\r?\n ?)(?:F-)?\d{{5}} (?:[{_UPPER}]{_LETTER}{{1,40}}(?:{_IN_TOWN}(?=[{_UPPER}]))?){{1,5}}"
)
_FRENCH_WITHOUT_NUMBER = re.compile(rf"(?<!\w){_VOIE} {_FRENCH_NAME}(?:,? |,?\r?\n ?)$")
_HAN = r"[\u4e00-\u9fff]"
_PART_OF_HOUSE = "(?:号楼?|座|栋|幢|楼|层|单元|室|弄)"
_CHINESE = re.compile(
    r"(?:省|市|壮族自治区|维吾尔自治区|回族自治区|自治区|特别行政区)?"
    rf"(?:{_HAN}{{1,8}}?(?:市|州|盟|地区|县|区|旗)){{1,3}}"
    rf"[\u4e00-\u9fffA-Za-z0-9]{{0,20}}?(?:路|街|大道|道|巷|弄|村|镇|乡|座|号)"
    rf"(?:{_HAN}{{0,4}}?[A-Za-z0-9一二三四五六七八九十-]{{1,6}}{_PART_OF_HOUSE}){{0,5}}(?: ?\d{{6}}(?!\d))?"
)
# No name of a street has one character, or one of these words in it: 线路88号 is a line of the tube.
_HAN_NAME = r"(?:(?![的和与或及在于从到是为住址位])[\u4e00-\u9fff])"
_CHINESE_STREET = re.compile(
    rf"(?:{_HAN_NAME}{{1,8}}?(?:市|县|区|镇|乡)){{0,3}}{_HAN_NAME}{{2,8}}?(?:路|街|道|巷|弄|村)$"
)
_CHINESE_REST = re.compile(
    rf"[0-9]{{1,5}}(?:号楼?|弄|栋|幢)(?:{_HAN}{{0,4}}?[A-Za-z0-9-]{{1,6}}{_PART_OF_HOUSE}){{0,4}}"
)


def address(cue: int, text: str, start: int, end: int) -> Named | None:
    """Return the address that the cue text[start:end] is a part of, or None."""
    found = _address(cue, text, start, end)
    if found is None:
        return None
    stop = len(text[found.start : found.end].rstrip(".,-'’ ")) + found.start
    # "12 Main St." keeps its dot.
    return Named(found.start, stop + (text[stop : stop + 1] == "." and text[:stop].endswith(("St", "Rd", "Ln", "tr"))))


def _address(cue: int, text: str, start: int, end: int) -> Named | None:
    if cue == Cue.STATE:
        code = _ZIP.match(text, end)
        match = _TO_ZIP.search(text[: code.end()]) if code else None
        return Named(*match.span()) if match else None
    if cue == Cue.STREET:
        before, after = _BEFORE_STREET.search(text[:start]), _AFTER_STREET.match(text, end)
        return Named(before.start(), after.end()) if before and after and not text[end : end + 1].isalpha() else None
    if cue == Cue.PROVINCE:
        match = _CHINESE.match(text, end)
        return Named(start, match.end()) if match else None
    return _house(text, start)


def _house(text: str, at: int) -> Named | None:
    town = _FRENCH_TOWN.match(" " + text[at:])
    street = _FRENCH_WITHOUT_NUMBER.search(text[:at]) if town else None
    if town and street:
        return Named(street.start(), at + town.end() - 1)
    french = _FRENCH.match(text, at)
    if french is not None:
        town = _FRENCH_TOWN.match(text, french.end())
        return Named(at, town.end() if town else french.end())
    chinese, rest = _CHINESE_STREET.search(text[:at]), _CHINESE_REST.match(text, at)
    if chinese and rest:
        return Named(chinese.start(), rest.end())
    street, number = _GERMAN_STREET.search(text[:at]), _HOUSE.match(text, at)
    if street is None or number is None:
        return None
    town = _GERMAN_TOWN.match(text, number.end())
    if town is None and not _SURE_GERMAN.search(text[:at]):
        return None  # "Platz 3" and "Weg 2" are streets only where a town follows
    return Named(street.start(), town.end() if town else number.end())
