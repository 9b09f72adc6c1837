"""How byte-level BPE tokenizers cut text before merging, by the names that GGUF files give these cuts.

A GGUF file stores only the name; a Hugging Face folder stores the cut itself. Both must be the same cut, or the
served model reads other tokens than the trained one.
"""

from __future__ import annotations

from typing import Any

# The cuts of Llama 3 and Qwen 2, as their own tokenizer files have them.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


PRETOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _byte_level(True),
    "smollm": _sequence({"type": "Digits", "individual_digits": True}, _byte_level(True)),
    "llama-bpe": _sequence(_split(rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"), _byte_level(False)),
    "qwen2": _sequence(_split(rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_REST}"), _byte_level(False)),
}
"""The `pre_tokenizer` of a `tokenizer.json`, by `tokenizer.ggml.pre`."""


def pretokenizer_name(pre_tokenizer: Any) -> str | None:
    """Return the GGUF name of a `tokenizer.json`'s `pre_tokenizer`, or None if it is not one of `PRETOKENIZERS`."""
    plain = _without_offsets(pre_tokenizer)
    return next((name for name, known in PRETOKENIZERS.items() if _without_offsets(known) == plain), None)


def _without_offsets(value: Any) -> Any:
    # trim_offsets moves character positions and changes no token.
    if isinstance(value, dict):
        return {key: _without_offsets(item) for key, item in value.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in value] if isinstance(value, list) else value
