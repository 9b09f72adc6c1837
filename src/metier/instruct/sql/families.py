"""The kinds of question: each a pattern of SQL whose slots a schema fills.

"trained" families are in the training data. The "held_out" ones (the exam's split `new_kind`) and the "tuning" ones
are never trained on, in any wording. They are not alien to the trained ones: each combines pieces that are trained
apart, so the split measures composition, not invention:

- avg_filter, max_filter: AVG, MAX and SUM ... WHERE are trained, these two with a filter are not;
- min_per, sum_per: MAX, AVG and COUNT per group, MIN and SUM of a whole table are trained;
- count_lt, count_null, count_in_year: COUNT with `=` and `>`, and rows with `<`, IS NULL, a year are trained;
- filter_or: two conditions joined by AND are trained; the keyword OR never is;
- top_n_filter: top n and filters are trained, never together;
- count_distinct_filter, distinct_filter: DISTINCT without a filter, COUNT(*) with one are trained;
- sum_join: joins with a filter, and SUM with a filter on one table are trained;
- update_gt, delete_null: UPDATE with `=`, DELETE with `<`, and SELECT with those conditions are trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Novelty = Literal["trained", "held_out", "tuning"]

TABLE = "SELECT * FROM {table} ORDER BY id"
NEW = (
    "SELECT c.name, upper(c.type), c.pk, l.strict FROM pragma_table_info('{new}') c, pragma_table_list l "
    "WHERE l.name = '{new}' ORDER BY c.cid"
)
INDEX = (
    "SELECT i.name, i.partial, x.name, replace(substr(m.sql, instr(upper(m.sql), 'WHERE') + 5), ' ', '') "
    "FROM pragma_index_list('{table}') i, pragma_index_info(i.name) x JOIN sqlite_master m ON m.name = i.name "
    "ORDER BY i.name, x.seqno"
)
PROBES = {"table": TABLE, "new": NEW, "index": INDEX}


@dataclass(frozen=True)
class Family:
    """A kind of question.

    `probe` reads the state that a statement without rows leaves; `ordered` says that the question asks for an order;
    `accepts` is another reading of the same words that counts as right; `roles` changes what a slot may hold.
    """

    id: str
    topic: str
    novelty: Novelty
    sql: str
    about: str
    roles: Mapping[str, str] = field(default_factory=dict)
    probe: str | None = None
    ordered: bool = False
    accepts: str | None = None

    @property
    def slots(self) -> frozenset[str]:
        """Return the names of the slots in the SQL."""
        return frozenset(re.findall(r"\{(\w+)\}", self.sql))


@cache
def all_families() -> tuple[Family, ...]:
    """Return the families of `families.yaml`, in its order."""
    read: dict[str, dict[str, Any]] = yaml.safe_load(files(__package__).joinpath("families.yaml").read_text("utf-8"))
    return tuple(
        Family(id=name, **{**told, "probe": PROBES[told["probe"]] if "probe" in told else None})
        for name, told in read.items()
    )


@cache
def families(*novelties: Novelty) -> tuple[Family, ...]:
    """Return the families of these kinds, in their fixed order."""
    return tuple(family for family in all_families() if family.novelty in novelties)
