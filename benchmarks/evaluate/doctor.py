"""The doctor on tiny models trained for real with a planted fault, and on healthy ones; and on simulated answers.

`python -m benchmarks.evaluate.doctor [seeds]`: five trainings a seed; interrupted, it goes on where it stopped.
`python -m benchmarks.evaluate.doctor simulated`: false alarms and power on simulated answers only.
No peer is run: none of the systems we know looks for these faults in a model that it has trained.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from tests.evaluate.doctor_material import Rates, seen
from tests.evaluate.doctor_models import FAULTS, diagnosed, workshop_in

from benchmarks.corpus.material import FOLDER
from benchmarks.record import Row, save
from metier.evaluate import statistics
from metier.evaluate.doctor.diagnosis import is_found, judged
from metier.evaluate.doctor.faults import look

SEEDS = 3
DIAGNOSES = 200
PLANTED = {
    "repetition": Rates(loops=0.35),
    "missing_end_token": Rates(run_on=0.7),
    "forgetting": Rates(text_loss=0.3),
    "length_drift": Rates(length=3.5),
    "refusal_drift": Rates(refusals=0.3),
    "format_drift": Rates(formless=0.3),
}
EDGE = Rates(0.06, 0.11, 0.05, 0.05, math.log(1.1), math.log(1.2), 1.6)  # every tolerance used up, none overstepped


def main() -> None:
    """Measure, print and record."""
    arguments = sys.argv[1:]
    if arguments != ["simulated"]:
        save("evaluate", _trained(int(arguments[0]) if arguments else SEEDS))
    save("evaluate", _simulated())


def _trained(seeds: int) -> list[Row]:
    workshop = workshop_in(FOLDER / "doctor")
    found: Counter[str] = Counter()
    besides: Counter[str] = Counter()
    ill = 0
    for seed in range(seeds):
        for planted in (None, *FAULTS):
            diagnosis = diagnosed(workshop, planted, seed)
            faults = {fault["fault"] for fault in diagnosis["faults"] if fault["found"]}
            print(f"seed {seed}, {planted or 'healthy'}: {', '.join(sorted(faults)) or 'no fault'}", flush=True)
            if planted is None:
                ill += bool(faults)
            else:
                found[planted] += planted in faults
                besides.update(faults - {planted})
    seconds = sum(artifact.record.seconds for artifact in workshop.artifacts() if artifact.exists)
    input = f"{seeds} seeds x 4 planted faults, tiny models trained for real"
    note = "; ".join(f"{name} {found[name]} of {seeds}" for name in FAULTS)
    note += "; found besides: " + (", ".join(f"{name} {count}" for name, count in besides.items()) or "nothing")
    healthy = f"{seeds} tiny models trained for real without a fault"
    total = seeds * len(FAULTS)
    return [
        Row("doctor finds planted faults", None, round(sum(found.values()) / total, 4), None, None, "share", input,
            seconds, bar="1", note=note),
        Row("doctor calls healthy models ill", None, round(ill / seeds, 4), None, None, "share", healthy, seconds,
            bar="0"),
    ]  # fmt: skip


def _simulated() -> list[Row]:
    statistics.ROUNDS = 20  # of the intervals' bootstrap: the verdict does not depend on it
    exam = "120 answers in clusters of 4, 24 texts, 24 replies"
    rows = []
    for name, rates in (("healthy", Rates()), ("at every tolerance", EDGE)):
        start = time.perf_counter()
        alarms = sum(bool(_found(rates, seed)) for seed in range(DIAGNOSES))
        rows.append(
            Row("doctor's false alarms", None, alarms / DIAGNOSES, None, None, "share",
                f"{DIAGNOSES} simulated models, {name}; {exam}", time.perf_counter() - start, bar="<= 0.05")
        )  # fmt: skip
    for fault, rates in PLANTED.items():
        start = time.perf_counter()
        found = [_found(rates, seed) for seed in range(DIAGNOSES // 4)]
        what = ", ".join(f"{key} {value:g}" for key, value in rates._asdict().items() if value != getattr(Rates(), key))
        besides = sum(bool(faults - {fault}) for faults in found)
        rows.append(
            Row(f"doctor's power: {fault}", None, sum(fault in faults for faults in found) / len(found), None, None,
                "share", f"{len(found)} simulated models, {what}; {exam}", time.perf_counter() - start, bar=">= 0.8",
                note=f"another fault besides in {besides}")
        )  # fmt: skip
    return rows


def _found(rates: Rates, seed: int) -> set[str]:
    looked = judged(look(seen(rates, Rates(), seed)))
    return {one.fault for one in looked if any(map(is_found, one.tests))}


if __name__ == "__main__":
    main()
