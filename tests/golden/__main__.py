"""Write `keys.json`: every step's version and defaults. Look at the difference before you commit it."""

import json
from pathlib import Path

from metier.core.recipe import import_rooms
from metier.core.step import STEPS

import_rooms()
golden = {
    name: {
        "version": kind.version,
        "defaults": {
            field: repr(info.get_default(call_default_factory=True, validated_data={}))
            for field, info in kind.model_fields.items()
            if not info.is_required()
        },
    }
    for name, kind in sorted(STEPS.items())
    if kind.__module__.startswith("metier.")
}
Path(__file__).with_name("keys.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
