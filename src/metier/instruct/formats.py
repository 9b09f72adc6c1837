"""What people write conversations and preferences in: alpaca, ShareGPT, OpenAI messages, prompt and completion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from metier.core.chat import Message

Format = Literal["openai", "sharegpt", "alpaca", "prompt"]

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thinking")
_MARKS: tuple[tuple[Format, tuple[str, ...]], ...] = (
    ("openai", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("alpaca", ("instruction",)),
    ("prompt", ("prompt",)),
)
_ANSWERS = {"alpaca": ("output", "response"), "prompt": ("completion", "response")}


class BadRow(Exception):  # noqa: N818 - it becomes a Mistake once the place of the row is known
    """A row that cannot be read: what is wrong, what was found, what to do."""

    def __init__(self, what: str, found: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.found, self.hint = what, found, hint


class Talk(NamedTuple):
    """Messages of one row, and which of them are trained where not all answers are."""

    messages: list[Message]
    weights: list[int] | None


class Choice(NamedTuple):
    """A prompt with a better and a worse answer."""

    prompt: list[Message]
    chosen: str
    rejected: str


def detect(fields: Mapping[str, Any]) -> Format:
    """Return the format of a row, by the names of its fields. Raises BadRow if none fits."""
    for name, marks in _MARKS:
        if all(mark in fields for mark in marks):
            return name
    raise BadRow(
        "the row is in no format that is known",
        ", ".join(fields) or "no fields",
        "rows have 'messages', 'conversations', 'instruction' and 'output', or 'prompt' and 'completion'; "
        "set columns: {output: THEIR_NAME} to rename",
    )


def talk(fields: Mapping[str, Any], kind: Format | None = None, reasoning: bool = True) -> Talk:
    """Return the conversation of a row.

    Tools, calls and reasoning become text, so that a row looks the same under any chat template: the tools stand in the
    system message, a call in <tool_call> and what the model thought in <think>.

    Args:
        kind: the format; None detects it.
        reasoning: keep what the model thought before it answered.

    Raises:
        BadRow: a field is missing or holds something else than it should.
    """
    kind = kind or detect(fields)
    weights: list[int] | None = None
    if kind == "openai":
        raw = _list(fields, "messages")
        messages = [_message(item, "messages", reasoning) for item in raw]
        weights = _weights(raw)
    elif kind == "sharegpt":
        messages = [_message(item, "conversations", reasoning) for item in _list(fields, "conversations")]
        messages = _with_system(messages, fields.get("system"))
    elif kind == "alpaca":
        answer = Message("assistant", _answer(fields, "alpaca"))
        messages = [*_alpaca_prompt(fields), answer if reasoning else _without_thought(answer)]
    else:
        name = next((name for name in _ANSWERS["prompt"] if name in fields), "completion")
        messages = [*_turns(fields, "prompt", "user"), *_turns(fields, name, "assistant")]
        messages = [message if reasoning else _without_thought(message) for message in messages]
    messages, weights = _with_tools(messages, weights, fields.get("tools"))
    return Talk(*_checked(messages, weights))


def choice(fields: Mapping[str, Any]) -> Choice:
    """Return the preference of a row: a prompt, `chosen` and `rejected` as texts or messages, in any of the formats.

    Raises:
        BadRow: as `talk`; or chosen and rejected answer different prompts.
    """
    if "preferred_output" in fields:  # OpenAI's own
        prompt = [_message(item, "input.messages", True) for item in _list(fields.get("input") or {}, "messages")]
        chosen, rejected = (_turns(fields, name, "assistant") for name in ("preferred_output", "non_preferred_output"))
    else:
        chosen, rejected = (_turns(fields, name, "assistant") for name in ("chosen", "rejected"))
        prompt = _preference_prompt(fields)
    while chosen and rejected and chosen[0] == rejected[0] and min(len(chosen), len(rejected)) > 1:
        prompt.append(chosen.pop(0))  # a prompt written into both
        rejected.pop(0)
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if len(turns) != 1 or turns[0].role != "assistant":
            roles = ", ".join(message.role for message in turns)
            raise BadRow(f"'{name}' is not one answer", roles, "both sides answer the same prompt with one message")
    if not prompt or prompt[-1].role == "assistant":
        raise BadRow("the row has no prompt to answer", ", ".join(fields), "give 'prompt', as text or as messages")
    return Choice(prompt, chosen[0].content, rejected[0].content)


class Verdict(NamedTuple):
    """A prompt with one answer, and whether that is good."""

    prompt: list[Message]
    answer: str
    good: bool


_GOOD = ("true", "1", "1.0", "yes", "good", "up", "desirable")
_BAD = ("false", "0", "0.0", "-1", "-1.0", "no", "bad", "down", "undesirable")


def verdict(fields: Mapping[str, Any]) -> Verdict:
    """Return a prompt, its answer and the field `label`: a row in any of the formats of conversations.

    Raises:
        BadRow: as `talk`; or there is no label, or one that is neither good nor bad.
    """
    said = fields.get("label")
    if said in (None, ""):
        raise BadRow(
            "the row has no 'label'", ", ".join(fields), "add label: true or false, or set columns: {label: THEIR_NAME}"
        )
    word = str(said).strip().lower()
    if word not in (*_GOOD, *_BAD):
        raise BadRow("'label' is neither good nor bad", repr(said)[:80], "write true or false")
    *prompt, answer = talk({name: value for name, value in fields.items() if name != "label"}).messages
    return Verdict(prompt, answer.content, word in _GOOD)


def _preference_prompt(fields: Mapping[str, Any]) -> list[Message]:
    if "prompt" in fields:
        return _turns(fields, "prompt", "user")
    if "messages" in fields:
        return [_message(item, "messages", True) for item in _list(fields, "messages")]
    if "conversations" in fields:
        messages = [_message(item, "conversations", True) for item in _list(fields, "conversations")]
        return _with_system(messages, fields.get("system"))
    return _alpaca_prompt(fields) if "instruction" in fields else []


def _alpaca_prompt(fields: Mapping[str, Any]) -> list[Message]:
    system = fields.get("system")
    messages = [Message("system", _text(system, "system"))] if system else []
    for turn in _json(fields.get("history"), "history") or []:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise BadRow("'history' is not a list of pairs", repr(turn)[:80], "write [[question, answer], ...]")
        messages += [Message("user", _text(turn[0], "history")), Message("assistant", _text(turn[1], "history"))]
    asked = [_text(fields.get(name) or "", name) for name in ("instruction", "input")]
    return [*messages, Message("user", "\n".join(part for part in asked if part.strip()))]


def _answer(fields: Mapping[str, Any], kind: Literal["alpaca", "prompt"]) -> str:
    names = _ANSWERS[kind]
    for name in names:
        if name in fields:
            return _text(fields[name], name)
    near = next((name for name in ("answer", "target", "completion", "label") if name in fields), None)
    fix = f"set columns: {{{names[0]}: {near}}}" if near else f"add '{names[0]}'"
    raise BadRow(f"the row has no '{names[0]}'", ", ".join(fields), fix)


def _turns(fields: Mapping[str, Any], name: str, role: str) -> list[Message]:
    """Return a field that is a text, a message or a list of messages."""
    if fields.get(name) is None:
        raise BadRow(
            f"the row has no '{name}'", ", ".join(fields), f"add '{name}', or set columns: {{{name}: THEIR_NAME}}"
        )
    value = fields[name]
    if isinstance(value, str) and value.lstrip().startswith(("[{", "{")):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return [Message(role, str(value))]  # a text that begins with a brace
        if not _is_messages(value):
            return [Message(role, str(fields[name]))]
    if isinstance(value, str):
        return [Message(role, value)]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise BadRow(f"'{name}' is neither text nor messages", type(value).__name__, "write text, or [{role, content}]")
    return [_message(item, name, True) for item in value]


def _is_messages(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, dict) and ("role" in item or "from" in item) for item in items)


def _message(item: Any, field: str, reasoning: bool) -> Message:
    if not isinstance(item, Mapping):
        raise BadRow(
            f"'{field}' holds something that is no message", repr(item)[:80], "write {role: ..., content: ...}"
        )
    said = item.get("role", item.get("from"))
    role = _ROLES.get(str(said).lower())
    if role is None:
        raise BadRow(
            f"'{field}' has a message of the unknown role {said!r}", ", ".join(item), f"roles: {', '.join(_ROLES)}"
        )
    content = item.get("content", item.get("value"))
    if role == "call":
        return Message("assistant", _call(content))
    calls = item.get("tool_calls") or ([item["function_call"]] if item.get("function_call") else [])
    if content is None and not calls:
        raise BadRow(f"'{field}' has a message without content", ", ".join(item), "give every message its 'content'")
    parts = [_text(content, field)] if content is not None else []
    thought = next((item[name] for name in _REASONING if item.get(name)), None)
    if thought is not None and reasoning and role == "assistant":
        parts.insert(0, f"<think>\n{_text(thought, 'reasoning').strip()}\n</think>\n")
    parts += [_call(call) for call in _json(calls, "tool_calls") or []]
    text = "\n".join(part for part in parts if part)
    message = Message(role, text)
    return message if reasoning else _without_thought(message)


def _without_thought(message: Message) -> Message:
    text = message.content
    if message.role == "assistant" and text.lstrip().startswith("<think>") and "</think>" in text:
        return message._replace(content=text.partition("</think>")[2].lstrip())
    return message


def _call(call: Any) -> str:
    told = _json(call, "tool_calls")
    function = told.get("function", told) if isinstance(told, Mapping) else None
    if not isinstance(function, Mapping) or "name" not in function:
        raise BadRow("a tool call has no name", repr(call)[:80], 'write {"name": ..., "arguments": {...}}')
    arguments = _json(function.get("arguments", {}), "arguments")
    plain = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{plain}\n</tool_call>"


def _with_tools(
    messages: list[Message], weights: list[int] | None, tools: Any
) -> tuple[list[Message], list[int] | None]:
    listed = _json(tools, "tools")
    if not listed:
        return messages, weights
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in listed)
    text = (
        "You can call these functions. To call one, answer with its name and arguments as JSON between <tool_call> and "
        f"</tool_call>.\n<tools>\n{lines}\n</tools>"
    )
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:]], weights
    return [Message("system", text), *messages], None if weights is None else [0, *weights]


def _with_system(messages: list[Message], system: Any) -> list[Message]:
    if not system or (messages and messages[0].role == "system"):
        return messages
    return [Message("system", _text(system, "system")), *messages]


def _weights(raw: Sequence[Any]) -> list[int] | None:
    said = [item.get("weight") if isinstance(item, Mapping) else None for item in raw]
    for weight in said:
        if weight not in (None, 0, 1):
            raise BadRow(
                "a message has a weight that is neither 0 nor 1", repr(weight), "1 trains an answer, 0 does not"
            )
    if all(weight is None for weight in said):
        return None
    return [1 if weight is None else int(weight) for weight in said]


def _checked(messages: list[Message], weights: list[int] | None) -> tuple[list[Message], list[int] | None]:
    """Return the messages up to the last answer. Raises BadRow if there is none, or an empty one, or no question."""
    answers = [at for at, message in enumerate(messages) if message.role == "assistant"]
    roles = ", ".join(message.role for message in messages)
    if not answers:
        raise BadRow("the row has no answer", roles or "no messages", "a conversation needs an assistant's message")
    if all(message.role != "user" for message in messages[: answers[0]]):
        raise BadRow("the first answer answers nothing", roles, "put the user's message before it")
    if any(first.role == second.role == "assistant" for first, second in pairwise(messages)):
        raise BadRow("two answers follow each other", roles, "join them into one message")
    empty = [at for at in answers if not messages[at].content.strip()]
    if empty:
        raise BadRow("an answer is empty", f"message {empty[0] + 1} of {len(messages)}", "fill it, or remove the row")
    end = answers[-1] + 1
    if weights is not None and not any(weights[at] for at in answers):
        raise BadRow("no answer of the row is trained", f"weights {weights}", "give one answer the weight 1")
    return messages[:end], None if weights is None else weights[:end]


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = _json(fields.get(name), name)
    if not isinstance(value, list | tuple) or not value:
        raise BadRow(f"'{name}' is not a list of messages", repr(value)[:80], f"write {name}: [{{...}}, {{...}}]")
    return list(value)


def _json(value: Any, name: str) -> Any:
    """Return what a cell of a table holds as JSON text; anything else as it is."""
    if not isinstance(value, str) or not value.strip():
        return value or None
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise BadRow(f"'{name}' is not valid JSON", f"{error.msg}: {value[:60]!r}", f"write {name} as JSON") from error


def _text(value: Any, name: str) -> str:
    """Return text, or the texts of a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in value
    ):
        return "".join(str(part.get("text", "")) for part in value)
    kinds = {part.get("type") for part in value if isinstance(part, Mapping)} if isinstance(value, list) else set()
    found = ", ".join(sorted(map(str, kinds))) or f"{type(value).__name__} {value!r}"[:80]
    raise BadRow(f"'{name}' holds something other than text", found, "only text is trained on")
