"""Chinese names of persons: before a title, after a form's field, before a telephone or identity number.

A name is a family name of the list and one or two characters. Without a word that says so, running text gives too
little to tell a name by; there a tagger helps (see `taggers.py`).
"""

from __future__ import annotations

import re

from metier.corpus.anonymise.gazetteer import ZH_AMBIGUOUS, ZH_FAMILY, ZH_FAMILY_OF_TWO, ZH_FUNCTION, ZH_NO_NAMES
from metier.corpus.anonymise.latin_names import Named

_HAN = re.compile(r"[\u3400-\u9fff]")
_RUN = re.compile(r"[\u3400-\u9fff]{1,5}")
_SEPARATOR = re.compile(r"(?:[ \u3000]?[是为叫]|[ \u3000]?[:：])?[ \u3000]{0,2}")
# What may stand before a name that a title follows: nothing Chinese, or a word that joins or addresses.
_JOINING = frozenset("的是和与及给找请对叫跟向同由为让被")
_BEFORE_NUMBER = re.compile(
    r"(?<![\u3400-\u9fff])([\u3400-\u9fff]{2,4})[ \u3000]{0,2}[,，、:：;；(（|\t]?[ \u3000]{0,2}"
    r"(?:的?(?:联系)?(?:电话|手机号?码?|身份证号?码?|证件号?码?|邮箱|电邮)[是为]?[:：]?[ \u3000]{0,2})?$"
)
_BEFORE = 32  # characters in which name and field must be
POLITE_TITLES = "先生 女士 小姐 太太 夫人 同学 同志 阿姨 叔叔 师傅"
OFFICE_TITLES = "老师 教授 医生 大夫 博士 经理 主任 律师 法官 护士 总监 院长 校长 局长 处长 科长 警官 工程师"
SURE_FIELDS = (
    "姓名 联系人 收件人 寄件人 收货人 开户人 户名 经办人 负责人 法定代表人 申请人 投保人 "
    "被保险人 持卡人 患者 本人 我叫 名叫 签名 原告 被告 我是 收款人 付款人 委托人 当事人"
)
LOOSE_FIELDS = "客户 用户 员工 作者 译者 甲方 乙方"


def before_title(text: str, at: int, polite: bool) -> Named | None:
    """Return the name that ends at `at`, where a title begins, as in 张伟先生.

    After an office, which follows many other words too (高级经理), the name must stand by itself.
    """
    found = None
    for size in (4, 3, 2, 1):
        name = text[max(0, at - size) : at]
        if len(name) < size or not _is_name(name) or not _stands(text, at - size, size, polite):
            continue
        # A longer name whose first character is also a word gives way to a shorter one, unless it stands by itself.
        doubtful = found is not None and text[found.start] in ZH_AMBIGUOUS and not _stands(text, found.start, 1, False)
        if found is None or (doubtful and size > 1 and name[0] not in ZH_AMBIGUOUS):
            found = Named(at - size, at)
    return found


def _stands(text: str, start: int, size: int, polite: bool) -> bool:
    before = text[start - 1 : start]
    alone = not _HAN.match(before) or before in _JOINING
    return alone or (polite and size > 1)


def _is_name(name: str) -> bool:
    if name in ZH_NO_NAMES or name[:2] in ZH_NO_NAMES or not all(map(_HAN.match, name)):
        return False
    if name[:2] in ZH_FAMILY_OF_TWO:
        return len(name) <= 4
    return name[0] in ZH_FAMILY and len(name) <= 3 and not (len(name) > 1 and name[1] in ZH_FUNCTION)


def after_field(text: str, at: int, sure: bool) -> Named | None:
    """Return the name that follows a form's field which ends at `at`, as in 姓名：张伟.

    Args:
        sure: whether the field is of persons only; after others the name must end where the Chinese text does.
    """
    separator = _SEPARATOR.match(text, at)
    start = separator.end() if separator else at
    run = _RUN.match(text, start)
    if run is None:
        return None
    word = run[0]
    longest = 4 if word[:2] in ZH_FAMILY_OF_TWO else 3
    if len(word) <= longest:
        name = word
    elif not sure:
        return None
    else:
        name = word[:longest] if word[longest - 1] not in ZH_FUNCTION else word[: longest - 1]
    if len(name) == 3 and name[2] in ZH_FUNCTION and len(word) > 3:
        name = name[:2]
    return Named(start, start + len(name)) if len(name) > 1 and _is_name(name) else None


def before_number(text: str) -> Named | None:
    """Return the name that ends a text after which a telephone or identity number begins, as in 张伟，电话138...."""
    start = max(0, len(text) - _BEFORE)
    match = _BEFORE_NUMBER.search(text, start) if _HAN.search(text, start) else None
    return Named(*match.span(1)) if match and _is_name(match[1]) else None
