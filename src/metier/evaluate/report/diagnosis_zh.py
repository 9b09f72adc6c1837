"""The doctor's findings in Chinese: what was measured as a sentence, why a remedy helps, why a check was not made.

The doctor writes English. Its diagnosis holds the measures beside the sentences, so they are said anew here; what this
module does not know stays as the doctor wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

WHAT: Mapping[str, str] = {
    "run_on": "参考答案只需上限的一半，回答却写到上限",
    "run_on_alone": "参考答案只需上限的一半，回答却写到上限",
    "loops": "原地打转的回答",
    "refusals": "拒答",
    "form": "没有参考答案的格式",
}
"""What each check of a share of answers counts."""

SENTENCES: Mapping[str, str] = {
    "share": "{n} 个回答中有 {measured}：{what}（容许 {bound}）。",
    "rise of the share": "{what}：比“{against}”多 {measured}（容许 {bound}，n = {n}）。",
    "trained_answers": "{n} 个训练用的回答中，有 {measured} 个的结尾不是服务端会停下的词元。",
    "repeated_text": "训练数据 {number} 中，有 {measured} 的字符位于此前已出现过四次的行里（容许 {bound}）。",
    "general_text": "通用文本的困惑度比“{against}”变化 {measured}（容许 {bound}，n = {n}）。",
    "general_replies": "原模型自己的回复，困惑度比“{against}”变化 {measured}（容许 {bound}，n = {n}）。",
    "copied": "考卷的 {n} 项内容中，有 {measured} 项原文出现在训练数据里。",
    "reworded": "{n} 道题中，有 {measured} 换了说法出现在训练数据里（容许 {bound}）。",
    "length": "回答的长度是参考答案的 {measured}（容许一半到两倍，n = {n}）。",
    "general_length": "对日常问题的回复，长度是原模型回复的 {measured}（容许一半到两倍，n = {n}）。",
}

WHY: Mapping[str, str] = {
    "deduplicate": "反复读到的内容会被背下来：去掉多余的副本。",
    "fix the end token": "对话模板用一个词元结束回答，模型文件夹里写的却是另一个。请把模板的结束词元加进起始模型 "
    "generation_config.json 的 eos_token_id，再重新训练；已部署的模型改好自己的文件后就会停下。",
    "fix the loss mask": "训练用的回答结尾正确，模型却停不下来：训练时损失没有算结束词元，或训练得太短。"
    "请用 sft 步骤训练同样的数据，它的掩码总是包含结束词元。",
    "fine-tune last": "继续预训练之后，没有任何一步教模型结束回答：文档里没有轮次。请把对话微调放在最后，"
    "或用原模型自己的回复（rehearsal 步骤）来微调。",
    "train longer": "训练用的回答结尾正确，只是模型还没学会：需要多训练几遍。",
    "decoding": "贪心解码最容易打转（Holtzman 等，2020）。比例不大时，重复惩罚或温度就能打破循环：用 decoding-search "
    "步骤寻找合适的设置。比较的所有模型要用同样的设置。",
    "LoRA": "低秩适配器学得少一些，也忘得少一些（Biderman 等，2024）。",
    "more replay": "在文档里多混入一些通用文本：回放能保住原有的知识（Ibrahim 等，2024）。",
    "decontaminate": "去掉含有考题的文档；含有考题的对话则在考试步骤里列出，考试便不再考其中的内容。"
    "然后重新考核所有模型。",
    "take them out": "从训练数据里删掉这里列出的内容后重新训练，或从考卷里去掉这些题。",
    "stronger reference": "让模型更贴近参考模型：偏好训练会把回答变长、变得爱拒答或改变格式。",
    "training data": "看一看训练用的回答：模型回答的长短、态度和格式都跟它们一样。",
    "rehearsal": "把原模型自己的回复混进训练数据，保住它回答日常问题的方式。",
    "lower rate": "学习率越高，模型离原来越远、忘得越多（Ibrahim 等，2024）。",
    "chat vector": "在基座模型而不是对话模型上继续预训练，之后用 chat-vector 步骤加上两者权重之差（Huang 等，2023）："
    "这样对话能力不会被训练覆盖。",
}

UNCHECKED: Mapping[str, str] = {
    "missing_end_token": "参考答案足够短的题不到 8 道，或者既没有对照模型、也没有列出对话训练。",
    "repetition": "没有可读的自由回答。",
    "forgetting": "没有给出原模型的考核结果（against），或考卷里的通用文本和回复不到 8 条。",
    "contamination": "没有给出训练数据（trained_on）和考卷（exam）。",
    "length_drift": "有参考答案的自由回答不到 8 个。",
    "refusal_drift": "自由回答不到 8 个。",
    "format_drift": "自由回答不到 8 个。",
}


def in_chinese(diagnosis: Mapping[str, Any], measure: Callable[[float, str | None], str]) -> dict[str, Any]:
    """Return a diagnosis with its sentences in Chinese; a fault says by `lang` in which language it is told.

    Args:
        measure: writes a number in its unit.
    """
    return {**diagnosis, "faults": [_fault(fault, diagnosis, measure) for fault in diagnosis["faults"]]}


def _fault(
    fault: Mapping[str, Any], diagnosis: Mapping[str, Any], measure: Callable[[float, str | None], str]
) -> dict[str, Any]:
    told = {**fault, "lang": "zh"}
    if not fault["checked"]:
        told["words"] = UNCHECKED.get(fault["fault"], fault["words"])
    else:
        found = [check for check in fault.get("checks") or [] if check["found"]] or (fault.get("checks") or [])[:1]
        sentences = [_sentence(check, diagnosis.get("against"), measure) for check in found]
        if not sentences or None in sentences:
            told["lang"] = "en"
        else:
            told["words"] = "".join(one for one in sentences if one)
    remedy = fault.get("remedy")
    if remedy is not None:
        why = WHY.get(remedy["kind"])
        told["remedy"] = {**remedy, "why": why or remedy["why"], "lang": "zh" if why else "en"}
    return told


def _sentence(check: Mapping[str, Any], against: str | None, measure: Callable[[float, str | None], str]) -> str | None:
    name, _, number = (
        check["name"].rpartition("_") if check["name"].startswith("repeated_text") else (check["name"], "", "")
    )
    sentence = SENTENCES.get(name) or (SENTENCES.get(check["unit"]) if name in WHAT else None)
    if sentence is None:
        return None
    unit = check["unit"]
    measured, bound = (measure(check[key], unit) for key in ("measured", "bound"))
    what = WHAT.get(name, "")
    return sentence.format(
        n=f"{check['n']:,}", measured=measured, bound=bound, what=what, number=number, against=against or ""
    )
