"""The doctor's remedies: which fields of which steps they change."""

from __future__ import annotations

from typing import Any

from metier.core.recipe import import_rooms
from metier.evaluate.doctor.diagnosis import judged
from metier.evaluate.doctor.faults import Seen, look
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.doctor.remedies import remedies
from metier.evaluate.doctor.trained_on import Leaked, Repeats
from metier.evaluate.doctor.words import change
from metier.evaluate.leaks import Leak
from metier.models.tiny import TinyModel
from metier.train import Cpt, Dpo, Sft
from tests.evaluate.doctor_material import HEALTHY, Folders, found_in, seen
from tests.evaluate.exam_steps import SomeDocuments, SomeTasks
from tests.train.bench import Pairs


def changes_of(fault: str, looked: Seen, trainings: list[Any], sources: list[Any], exam: Any = None) -> list[list[str]]:
    import_rooms()
    lineage = Lineage(Folders(), trainings, [*sources, *([exam] if exam is not None else [])])  # type: ignore[arg-type]
    one = next(one for one in judged(look(looked)) if one.fault == fault)
    return [[change(told) for told in way.changes] for way in remedies(one, looked, lineage, sources, exam)]


def test_the_remedies_change_the_fields_of_the_trainings() -> None:
    tiny, docs, tasks = TinyModel(), SomeDocuments(), SomeTasks()
    cpt = Cpt(base=tiny, corpus=docs, replay=SomeDocuments(seed=1), replay_share=0.1)
    sft = Sft(base=cpt, data=(tasks,), learning_rate=2e-4)
    dpo = Dpo(base=sft, pairs=Pairs(), learning_rate=4e-6)
    ill = seen(HEALTHY._replace(text_loss=0.4, length=4.0, loops=0.5, run_on=0.9), HEALTHY, 3)
    forgot = changes_of("forgetting", ill, [cpt, sft], [docs, tasks])
    assert forgot[0] == ["cpt.replay_share 0.1 → 0.3"]
    assert forgot[1] == [
        "insert rehearsal: {step: rehearsal, origin: $tiny-model, prompts: 160} after tiny-model",
        "sft.data [$test-some-tasks] → [$test-some-tasks, $rehearsal]",
    ]
    assert "sft.learning_rate 0.0002 → 0.0001" in forgot[2]
    assert changes_of("length_drift", ill, [cpt, sft, dpo], [])[0] == ["dpo.beta null → 0.2"]
    assert changes_of("missing_end_token", ill, [cpt, sft], [])[0] == ["sft.epochs 1 → 2"]
    assert changes_of("missing_end_token", ill, [cpt], [])[0] == []  # said in words: fine-tune last
    again = ill._replace(repeats=[Repeats(0.5, 0.0, []), Repeats(0.0, 0.0, [])])
    assert changes_of("repetition", again, [cpt, sft], [docs, tasks])[0] == [
        "insert test-some-documents-unique: {step: dedup, corpus: $test-some-documents, threshold: 0.9} "
        "after test-some-documents",
        "cpt.corpus $test-some-documents → $test-some-documents-unique",
    ]


def test_a_leak_from_documents_is_cut_out_behind_them_and_what_the_exam_asks_still_reads_them() -> None:
    from metier.evaluate import MakeExam
    from metier.instruct import DocQa

    tiny, docs = TinyModel(), SomeDocuments()
    questions = DocQa(corpus=docs)
    sft = Sft(base=Cpt(base=tiny, corpus=docs), data=(questions,))
    exam = MakeExam(corpus=docs, origin=tiny, tasks=(questions,))
    leak = Leak("task 1", "verbatim", 1.0, "training data 1", "asked", "found")
    ill = seen(HEALTHY, None, 0)._replace(leaked=[Leaked(0, [leak])])
    assert found_in(ill) == {"contamination"}
    assert changes_of("contamination", ill, [sft.base, sft], [docs], exam)[0] == [
        "insert test-some-documents-clear: {step: decontaminate, corpus: $test-some-documents, tasks: [$doc-qa]} "
        "after test-some-documents",
        "cpt.corpus $test-some-documents → $test-some-documents-clear",
    ]
