"""Advice as a recipe to begin with: every setting that was advised, in steps that `metier plan` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metier.core import Mistake
from metier.train.advise import Advice, Training
from metier.train.evidence import Evidence


def recipe(advice: Advice, found: Sequence[Evidence], model: Path, general: Path | None) -> str:
    """Return a recipe in YAML.

    Args:
        found: what there is to learn from; documents and the files of rows and pairs are read by it.
        model: the folder of the model to be adapted.
        general: general text for replay, a .jsonl with a "text" a line.

    Raises:
        Mistake: there are no documents to begin with.
    """
    documents = [one for one in found if one.kind == "documents"]
    if not documents:
        raise Mistake(
            "a recipe begins with documents, and none were given",
            found=", ".join(f"{one.path.name}: {one.kind}" for one in found) or "nothing",
            hint="name a folder of documents as well; the exam and its held-out questions come from them",
        )
    if len(documents) > 1:
        raise Mistake(
            "the recipe reads one source of documents, and several were given",
            found=", ".join(one.path.name for one in documents),
            hint="put them into one folder, or write the recipe for one and add a `mix`",
        )
    own = {
        kind: [str(one.path.absolute()) for one in found if one.kind == kind and one.path.is_file()]
        for kind in ("conversations", "preferences")
    }
    lines = [_head(advice), "\n# 1. Documents", *_documents(documents[0])]
    lines += ["\n# 2. The model", f"origin: {_entry('local-model', folder=str(model.absolute()))}"]
    trained = "origin"
    if "CPT" in advice.ways:
        lines += ["\n# 3. Training on the documents", *_cpt(advice, general)]
        trained = "cpt"
    if "SFT" in advice.ways:
        lines += _sft(advice, trained, own["conversations"], found)
        trained = "sft"
    if "DPO" in advice.ways:
        files = own["preferences"]
        pairs = (
            _entry("preference-data", files=files)
            if files
            else _entry("sample-pairs", model="$sft", prompts=["$questions"])
        )
        lines += [
            f"\n# 5. Preferences, {'your own' if files else 'sampled from the fine-tuned model'}",
            f"pairs: {pairs}",
            f"dpo: {_training('dpo', advice.trainings['dpo'], base='$sft', pairs='$pairs')}",
        ]
        trained = "dpo"
    return "\n".join([*lines, *_exam(advice, trained, bool(own["conversations"])), ""])


def _head(advice: Advice) -> str:
    told = [f"# {line.about}: {line.advice}. {line.reason} ({line.source})" for line in advice.lines]
    return "\n".join(["# Advised way: " + " + ".join(advice.ways), *told])


def _documents(one: Evidence) -> list[str]:
    path = str(one.path.absolute())
    if one.path.is_file() and one.path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        first = f"pages: {_entry('table', file=path)}"
    elif (one.path / "documents").is_dir():
        first = f"pages: {_entry('saved-documents', folder=path)}"
    else:
        first = f"pages: {_entry('read', folder=path)}"
    return [
        first,
        f"clean: {_entry('normalise', corpus='$pages')}",
        f"unique: {_entry('dedup', corpus='$clean', threshold=0.9)}",
        f"corpus: {_entry('split', corpus='$unique', held_out=0.1)}",
    ]


def _cpt(advice: Advice, general: Path | None) -> list[str]:
    lines, more = [], {}
    if general is not None:
        lines.append(f"replay: {_entry('table', file=str(general.absolute()))}")
        more = {"replay": "$replay", "replay_share": advice.replay_share}
    else:
        lines.append(
            f"# replay: {{step: table, file: general.jsonl}}   # advised: {advice.replay_share:.0%} general text"
        )
    return [*lines, f"cpt: {_training('cpt', advice.trainings['cpt'], base='$origin', corpus='$corpus', **more)}"]


def _sft(advice: Advice, trained: str, files: list[str], found: Sequence[Evidence]) -> list[str]:
    data = ["$questions", *(["$rows"] if files else []), "$rehearsal"]
    lines = [
        "\n# 4. Questions and answers from the documents; replies of the model itself, so that it keeps chatting",
        f"questions: {_entry('doc-qa', corpus='$corpus')}",
        f"rehearsal: {_entry('rehearsal', origin='$origin')}",
    ]
    if files:
        lines.append(f"rows: {_entry('chat-data', files=files)}   # your own")
    lines += [
        f"# {one.path} holds {one.kind} of a step: name that step among the data, or copy it into this recipe"
        for one in found
        if one.kind != "documents" and not one.path.is_file()
    ]
    return [*lines, f"sft: {_training('sft', advice.trainings['sft'], base=f'${trained}', data=data)}"]


def _exam(advice: Advice, trained: str, own_rows: bool) -> list[str]:
    tasks: dict[str, Any] = {"tasks": ["$questions"]} if "SFT" in advice.ways else {}
    if tasks and own_rows:
        tasks["trained_on"] = ["$rows"]
    models = dict.fromkeys(["origin", *(name for name in ("cpt", "sft", "dpo") if name in advice.trainings)])
    lines = [
        "\n# 6. The exam, alike for every model",
        f"exam: {_entry('exam', corpus='$corpus', origin='$origin', **tasks)}",
        *(f"scores-{name}: {_entry('examine', model=f'${name}', exam='$exam')}" for name in models),
    ]
    if "RAG" in advice.ways:
        rag = _entry("examine", model="$origin", exam="$exam", retrieval="$corpus")
        lines.append(f"scores-rag: {rag}   # what training has to beat")
    if trained != "origin":
        lines += ["", f"# metier gate scores-{trained} --against scores-origin"]
    return lines


def _training(step: str, one: Training, **fields: Any) -> str:
    told = {**fields, "epochs": one.epochs, "learning_rate": one.learning_rate}
    if one.method != "full":
        told |= {"method": one.method, "lora": {"rank": one.rank, "alpha": 2.0 * (one.rank or 16)}}
    return _entry(step, **told)


def _entry(step: str, **fields: Any) -> str:
    return "{" + ", ".join(f"{name}: {_plain(value)}" for name, value in {"step": step, **fields}.items()) + "}"


def _plain(value: Any) -> str:
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < value < 1e-3 else f"{value:g}"
    if isinstance(value, str) and not value.replace("-", "").replace("$", "").isalnum():
        return json.dumps(value, ensure_ascii=False)
    return str(value)
