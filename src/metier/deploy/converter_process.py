"""Runs llama.cpp's converter in a process of its own; never imported.

Arguments: the converter's folder, the name of the tokenizer's cut or "", then the converter's own arguments.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Convert, naming the tokenizer's cut where the converter does not recognise it."""
    folder, cut = Path(sys.argv[1]), sys.argv[2]
    # The converter belongs to the gguf library beside it, not to the installed one.
    sys.path[:0] = [str(folder), str(folder / "gguf-py")]
    _keep_licence(Path(sys.argv[sys.argv.index("--metadata") + 1]))
    if cut:
        base: Any = importlib.import_module("conversion.base")
        recognise = base.TextModel.get_vocab_base_pre

        def name_of_cut(model: Any, tokenizer: Any) -> str:
            try:
                return str(recognise(model, tokenizer))
            except NotImplementedError:
                return cut

        base.TextModel.get_vocab_base_pre = name_of_cut
    script = folder / "convert_hf_to_gguf.py"
    sys.argv = [str(script), *sys.argv[3:]]
    runpy.run_path(str(script), run_name="__main__")


def _keep_licence(override: Path) -> None:
    # Of all that the override file may say, the library (0.19) passes over the licence alone.
    licence = json.loads(override.read_text()).get("general.license")
    metadata: Any = importlib.import_module("gguf").Metadata
    load = metadata.load

    def with_licence(*arguments: Any) -> Any:
        found = load(*arguments)
        found.license = licence or found.license
        return found

    metadata.load = with_licence


if __name__ == "__main__":
    main()
