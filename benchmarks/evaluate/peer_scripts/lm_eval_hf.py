"""Run in lm-eval's environment: lm_eval_hf.py MODEL REQUESTS.json DTYPE [MAX_LENGTH PREFIX_TOKEN].

Answers requests with lm-eval's own Hugging Face model as it comes (batches of one) and prints the answers with the CPU
seconds that they took. Requests are lists: of two texts, for the likelihood of the second after the first; or of one,
for the likelihood of it all, in windows of MAX_LENGTH after PREFIX_TOKEN.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from lm_eval.api.instance import Instance  # type: ignore[import-not-found,import-untyped,unused-ignore]
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found,import-untyped,unused-ignore]


def main(model: str, requests: str, dtype: str, *window: str) -> None:
    """Print {"seconds": ..., "answers": [...]}."""
    torch.set_num_threads(1)
    options = dict(zip(("max_length", "prefix_token_id"), map(int, window), strict=False))
    peer = HFLM(pretrained=model, dtype=dtype, device="cpu", **options)
    asked = json.loads(Path(requests).read_text())
    kind = "loglikelihood" if len(asked[0]) == 2 else "loglikelihood_rolling"
    instances = [Instance(kind, {}, tuple(texts), at, ("benchmark", at, 1)) for at, texts in enumerate(asked)]
    start = time.process_time()
    answers = getattr(peer, kind)(instances, disable_tqdm=True)
    print(json.dumps({"seconds": time.process_time() - start, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
