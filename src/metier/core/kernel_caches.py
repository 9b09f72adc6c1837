"""Bounds for what torch keeps of compiled kernels on CPUs."""

from __future__ import annotations

import os

KERNELS = 256
"""Kernels that each cache keeps: more than a forward and backward pass of one length needs, whatever the depth."""

_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")  # of torch's ideep, of oneDNN itself


def bound_kernel_caches() -> None:
    """Let torch and oneDNN keep at most 256 compiled kernels each, unless the environment says how many.

    Both keep 1,024 by default, one for every shape of a matrix product, and windows and prompts differ in length: a
    135M model held 0.6 GB more after sixteen steps, which no plan counts and no freeing gives back. It has to be called
    before the first product in 16 bits; later it does nothing.
    """
    for name in _CACHES:
        os.environ.setdefault(name, str(KERNELS))
