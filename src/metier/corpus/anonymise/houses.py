"""House numbers and postcodes: digits beside the name of a street or a town, in German, French and Chinese."""

from __future__ import annotations

import re

from metier.corpus.anonymise.characters import UPPER, at, words_of

# In German the street stands before its number, as one word or joined by hyphens.
STREET_ENDINGS = words_of(
    "straße Straße strasse Strasse str. Str. allee Allee gasse Gasse platz Platz weg Weg Ring damm Damm ufer Ufer "
    "chaussee Chaussee ring steig graben"
)
# In French it stands after, with a comma or without.
FRENCH_STREETS = words_of("rue avenue boulevard chemin place allée impasse quai cours route square passage voie")
CHINESE_STREETS = words_of("路 街 道 巷 弄 村")
CHINESE_HOUSES = words_of("号 弄 栋 幢")

_NUMBER = re.compile(rb"[0-9]{1,5}(?![0-9])")


def house_number(data: bytes, place: int) -> int | None:
    """Return where the digits at `place` end if what stands beside them makes them part of an address, else None."""
    match = _NUMBER.match(data, place)
    if match is None:
        return None
    end = match.end()
    if at(data, place - 1) == ord(" ") and any(data.endswith(ending, 0, place - 1) for ending in STREET_ENDINGS):
        return end
    if data[max(0, place - 3) : place] in CHINESE_STREETS and data[end : end + 3] in CHINESE_HOUSES:
        return end
    if end - place == 5 and at(data, end) == ord(" ") and at(data, place - 1) in b" \n":
        # The postcode before a town: the street may stand before it without a number.
        return end if at(data, end + 1) in UPPER or at(data, end + 1) >= 0xC3 else None
    word = end + 4 if data[end : end + 4] in (b" bis", b" ter") else end
    word += at(data, word) == ord(",")
    if at(data, word) != ord(" "):
        return None
    word += 1
    found = any(data.startswith(street, word) and at(data, word + len(street)) == ord(" ") for street in FRENCH_STREETS)
    return end if found else None
