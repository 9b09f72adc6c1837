"""Does injection work? `python -m benchmarks.train.injection [PART ...]`; parts: sft, replay, vector, grpo.

SmolLM2-135M on SQLite's manual and on executed SQL tasks, as in the demo, but smaller. Trainings and examinations are
steps of a workshop in benchmarks/.material/injection/runs: killed, the same command goes on. Seeds come one after the
other through all parts, so that what is there after a while is one whole seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.record import save
from benchmarks.train.injection_rows import rows_of, table
from benchmarks.train.injection_steps import Arms, Domain, arms_of
from metier.core import Workshop
from metier.core.progress import Progress
from metier.core.recipe import load_recipe
from metier.demo import prepare

MATERIAL = Path(__file__).parents[1] / ".material" / "injection"
PARTS = ("replay", "sft", "vector", "grpo")
SEEDS = (0, 1, 2)


def domain_in(folder: Path) -> Domain:
    """Return the demo's own steps, its material and recipe laid into `folder` if they are not there."""
    recipe = load_recipe(prepare(folder, print))
    return Domain(*(recipe.step(name) for name in Domain._fields))


def main() -> None:
    """Train, examine, compare and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the trainings; 0, 1, 2 if not given")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    domain = domain_in(MATERIAL)
    workshop = Workshop(MATERIAL / "runs", progress=Progress.here())
    parts = given.parts or PARTS
    made: dict[str, list[Arms]] = {part: [] for part in parts}
    for seed in given.seeds:
        for part in parts:
            arms = arms_of(part, domain, seed)
            workshop.make_all([step for steps in arms.values() for step in steps])
            made[part].append(arms)
            print(f"{part}: seed {seed} done", flush=True)
    for part in parts:
        save("train", rows_of(part, made[part], workshop))
        print(f"\n### {part}\n\n{table(part, made[part], workshop)}\n", flush=True)


if __name__ == "__main__":
    main()
