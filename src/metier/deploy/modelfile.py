"""A Modelfile for Ollama whose template says what the model's own says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from metier.core.chat import Message
from metier.core.llamacpp import Sampling

_ROLES = ("system", "user", "assistant")
_MARK = "\u2063{}\u2063"


class TurnTemplate(NamedTuple):
    """A chat template as text around turns.

    default: what stands before a conversation that has no system turn. around: text before and after a turn's content,
    by role. opening: what begins an answer.
    """

    default: str
    around: dict[str, tuple[str, str]]
    opening: str

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation that awaits an answer."""
        turns = "".join(message.content.join(self.around[message.role]) for message in messages)
        return ("" if any(m.role == "system" for m in messages) else self.default) + turns + self.opening

    def in_go(self) -> str:
        """Return the template in the language of Ollama's TEMPLATE."""
        branches = []
        for at, role in enumerate(_ROLES):
            before, after = self.around[role]
            branches.append(f'{{{{ {"else " if at else ""}if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}')
        turns = "{{ range .Messages }}" + "".join(branches) + "{{ end }}{{ end }}"
        default = f"{{{{ if not .System }}}}{self.default}{{{{ end }}}}" if self.default else ""
        return default + turns + self.opening


def turn_template(tokenizer: Any) -> TurnTemplate | None:
    """Return a tokenizer's chat template as text around turns, or None if it does more than that.

    Found by rendering marked turns, and believed only after it has rendered other conversations as the original does.
    """

    def render(messages: Sequence[Message], generate: bool) -> str:
        turns = [message._asdict() for message in messages]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate))

    try:
        found = _around(render)
        same = all(found.render(messages) == render(messages, True) for messages in _TRIALS)
    except Exception:  # a template refuses turns with errors of its own making, or leaves out a mark
        return None
    return found if same and '"""' not in found.in_go() else None


def modelfile(
    gguf: str, turns: TurnTemplate | None, stops: Sequence[str], sampling: Sampling, context_tokens: int
) -> str:
    """Return a Modelfile for `gguf`; without TEMPLATE, which leaves Ollama to guess, where `turns` is None."""
    lines = [f"FROM ./{gguf}"]
    if turns is not None:
        lines.append(f'TEMPLATE """{turns.in_go()}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    # Ollama's own defaults (temperature 0.8, top_k 40, repeat_penalty 1.1) would answer unlike the examined model.
    values = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k or 1_000_000}
    values |= {"min_p": sampling.min_p, "repeat_penalty": sampling.repetition_penalty, "num_ctx": context_tokens}
    if sampling.repetition_penalty != 1:
        values["repeat_last_n"] = -1  # over all of the context, as the penalty was examined; Ollama's own is 64 tokens
    if sampling.max_tokens is not None:
        values["num_predict"] = sampling.max_tokens
    lines += [f"PARAMETER {name} {value}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _around(render: Callable[[Sequence[Message], bool], str]) -> TurnTemplate:
    marked = [Message(role, _MARK.format(role)) for role in _ROLES]
    system, user, assistant = (message.content for message in marked)
    head, rest = render(marked, False).split(system)
    between_user, rest = rest.split(user)
    between_assistant, tail = rest.split(assistant)
    # One more user turn shows what belongs to it and what to the turns beside it.
    longer = render([*marked, marked[1]], False).removeprefix(render(marked, False))
    before_user, after_user = longer.split(user)
    around = {
        "system": (head, between_user.removesuffix(before_user)),
        "user": (before_user, after_user),
        "assistant": (between_assistant.removeprefix(after_user), tail),
    }
    default = render(marked[1:], False).split(user)[0].removesuffix(before_user)
    opening = render(marked[:2], True).removeprefix(render(marked[:2], False))
    return TurnTemplate(default, around, opening)


_TRIALS = (
    [Message("user", "One")],
    [Message("system", "Be brief."), Message("user", "Two\nlines")],
    [Message("user", "a"), Message("assistant", "b"), Message("user", "c")],
    [Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")],
)
