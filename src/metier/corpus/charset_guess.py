"""Which legacy charset a text is in, told by the commonest characters of the languages that were written in it.

A text read in the wrong charset still has characters, but not the ones that its language uses all the time: the two
hundred commonest characters make half of any Chinese text and a few per cent of a wrongly decoded one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

_SAMPLE = 100_000  # characters looked at, from shortly before the first foreign one
_STOPS = frozenset("，。、；：？！“”‘’（）《》〈〉「」『』【】…—·　～￥％ー・")

_CHINESE_SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去"
    "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又"
    "关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先"
    "海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场"
    "件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类"
    "求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运库储存输配置文件系统版"
)
_CHINESE_TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去"
    "法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又"
    "關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世位次度門任常先"
    "海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量再感建務做接必場"
    "件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界達光放強即像難且權思王象完設式色路記南品住告類"
    "求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今切院讓識候帶導爭運"
)
_KOREAN = frozenset(
    "이다는의에을를가은로고하지한서기도자사리어시나인으만라아대들그정보수해과일있것와면부장게스주여구상할원전제유안우거조오동진생성국선"
    "연명소신마공중화무적모관세학때교비문미방개분위경더민내계실음당요되등트드었았했습니까된및또여러년월일파입출력용설치데터프램로그"
)
_CYRILLIC_COMMON = frozenset("оеаинтсрвлі")
_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ")

# Foreign letters of each language that was written in a charset. A word's letters belong to one language, so Czech
# read as Western European is found out: no language has its mixture.
_WESTERN = (
    "äöüßé", "àâæçéèêëîïôœùûüÿ", "áéíñóúüç", "áâãàçéêíóôõúü", "àèéìíîòóùú", "éèëïóöüê", "åäöéàü", "æøåéôóòê",
    "àçèéíïòóúü", "áðéíóúýþæö",
)  # fmt: skip
_CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ")
_MARKS = frozenset("‘’‚“”„–—…•€£§©®°«»\xa0½¼¾×·¿¡ªº±²³µ¶™†‹›¹¨´¸÷¬¦¢¥")
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_INSIDE_WORD = re.compile(r"[^\W\d_]([^\x00-\x7f])(?=[^\W\d_])")


class _Charset(NamedTuple):
    """A legacy charset; `share` is how much of a text's foreign characters its language would use all the time.

    `least` is what that share must be. Both were set on translations of Debian's manuals.
    """

    codec: str
    share: Callable[[str], float]
    least: float


def guess_legacy(data: bytes) -> str | None:
    """Return the one charset in which `data` reads as its language is written, or None if none does, or two do."""
    found = []
    for charset in _CHARSETS:
        try:
            text = data.decode(charset.codec)
        except UnicodeDecodeError:
            continue
        first = _FOREIGN.search(text)
        start = max(0, first.start() - 100) if first is not None else 0
        window = text[start : start + _SAMPLE]
        share = charset.share(window)
        if share >= charset.least:
            found.append((share / charset.least, charset.codec, window))
    found.sort(key=lambda fit: -fit[0])
    if not found or any(other[2] != found[0][2] and found[0][0] < 1.3 * other[0] for other in found[1:]):
        return None
    return found[0][1]


def reads_as_text(text: str) -> bool:
    """Say whether characters beyond Latin read as a text of one of the languages."""
    return max(_chinese(text), _traditional(text), _japanese(text), _korean(text)) >= 0.25 or _cyrillic(text) >= 0.45


def _foreign(text: str) -> list[str]:
    return [c for c in text if c > "\x7f" and c not in _STOPS]


def _common(text: str, common: frozenset[str]) -> float:
    foreign = _foreign(text)
    return sum(c in common for c in foreign) / len(foreign) if len(foreign) >= 3 else 0.0


def _chinese(text: str) -> float:
    return _common(text, _CHINESE_SIMPLIFIED)


def _traditional(text: str) -> float:
    return _common(text, _CHINESE_TRADITIONAL)


def _japanese(text: str) -> float:
    """Return the share of kana, which make half of any Japanese text; none for a text with many half-width ones."""
    foreign = _foreign(text)
    if len(foreign) < 3:
        return 0.0
    kana = sum("\u3041" <= c <= "\u30fa" for c in foreign)
    halves = sum("\uff61" <= c <= "\uff9f" for c in foreign)
    strange = sum(not ("\u3000" <= c <= "\u9fff" or "\uff00" <= c <= "\uffee") for c in foreign)
    return 0.0 if max(halves, strange) > 0.1 * len(foreign) else kana / len(foreign)


def _korean(text: str) -> float:
    foreign = _foreign(text)
    if sum("가" <= c <= "힣" for c in foreign) < 0.8 * len(foreign):
        return 0.0
    return _common(text, _KOREAN)


def _cyrillic(text: str) -> float:
    return _alphabet(text, _CYRILLIC, _CYRILLIC_COMMON)


def _alphabet(text: str, letters: frozenset[str], common: frozenset[str]) -> float:
    """Return the share of common letters in a text whose words are all of foreign letters, mostly small ones."""
    foreign = [c for c in text if c > "\x7f" and c not in _MARKS and c not in _STOPS]
    # The wrong one of two Cyrillic charsets swaps capital and small letters.
    if len(foreign) < 3 or sum(c in letters for c in foreign) < 0.6 * len(foreign):
        return 0.0
    if sum(c.lower() in letters for c in foreign) < 0.95 * len(foreign):
        return 0.0
    alone = sum(b - a > 1 for a, b in pairwise(place for place, c in enumerate(text) if c > "\x7f"))
    if alone > 0.5 * len(foreign):  # in Western languages a foreign letter stands among others
        return 0.0
    return sum(c.lower() in common for c in foreign) / len(foreign)


def _western(text: str) -> float:
    return _one_language(text, _WESTERN)


def _central(text: str) -> float:
    # These languages use many foreign letters; a few of them are as likely French, read wrongly.
    several = len({c.lower() for c in _FOREIGN.findall(text) if c not in _MARKS}) >= 5
    return _one_language(text, _CENTRAL) if several else 0.0


def _one_language(text: str, alphabets: tuple[str, ...]) -> float:
    """Return the share of foreign characters that are letters of one language, the best, or marks outside words."""
    foreign = _FOREIGN.findall(text)
    if not foreign or len(foreign) > 0.25 * len(text):
        return 0.0
    counts = Counter(c.lower() for c in foreign if c not in _MARKS)
    letters = counts.total()
    marks_in_words = sum(c in _MARKS and c not in "’·" for c in _INSIDE_WORD.findall(text))
    wrong = marks_in_words + letters - max(sum(counts[c] for c in alphabet) for alphabet in alphabets)
    return 1.0 - wrong / len(foreign)


_CHARSETS = (
    _Charset("gb18030", _chinese, 0.25),
    _Charset("big5", _traditional, 0.25),
    _Charset("cp932", _japanese, 0.3),
    _Charset("euc_jp", _japanese, 0.3),
    _Charset("cp949", _korean, 0.25),
    _Charset("cp1251", _cyrillic, 0.45),
    _Charset("koi8_r", _cyrillic, 0.45),
    _Charset("koi8_u", _cyrillic, 0.45),
    _Charset("cp1252", _western, 0.97),
    _Charset("cp1250", _central, 0.99),
    _Charset("iso8859_2", _central, 0.99),
)
