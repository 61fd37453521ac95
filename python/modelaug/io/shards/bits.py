"""Sources of rounding that the last bits of results depend on: the processor, and the numerical libraries.

Kernels fuse multiply and add where the instruction set can. NumPy, or the C library for it, computes exponentials,
powers, sines and cosines differently on different processors. All of these differ by rounding.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import scipy

from modelaug import _core

_SETS: Final = ("baseline", "v3", "v4")  # a processor of a later one runs the earlier ones


@functools.cache
def _found() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "instruction_set": _core.build_config()["instruction_set"],
        "numpy": np.__version__,
        "numpy_features": list(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
        "scipy": scipy.__version__,
        "libc": " ".join(platform.libc_ver()).strip() or platform.platform(terse=True),
    }


def bits_here() -> dict[str, Any]:
    """Describe the processor and the libraries by which the last bits of pairs may differ, as in JSON.

    Returns
    -------
    dict
        ``machine`` (the architecture), ``instruction_set`` (of the kernels, see `build_config`), ``numpy``, ``scipy``
        (versions), ``numpy_features`` (of the processor, as far as NumPy has code for them), ``libc`` (the C library).
    """
    return {**_found(), "numpy_features": list(_found()["numpy_features"])}


def differing_bits(wanted: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Compare two results of `bits_here`: return the differences and how to get the wanted bits here, or None."""
    names = [name for name in {**wanted, **here} if wanted.get(name) != here.get(name)]
    if not names:
        return None
    differences = " and ".join(f"{name} {_text(wanted.get(name))}, not {_text(here.get(name))}" for name in names)
    return f"{differences}, by which last bits differ; {_remedy(names, wanted, here)}"


def _remedy(names: list[str], wanted: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return the installations and settings by which the wanted bits can be computed here."""
    settings = {}
    for name in names:
        before, now = wanted.get(name), here.get(name)
        if name == "instruction_set" and before in _SETS and now in _SETS[_SETS.index(before) + 1 :]:
            settings["MODELAUG_ISA"] = before
        elif isinstance(before, list) and isinstance(now, list) and not set(before) - set(now):  # numpy_features
            settings["NPY_DISABLE_CPU_FEATURES"] = " ".join(each for each in now if each not in before)
        elif name in ("numpy", "scipy") and isinstance(before, str):
            settings[name] = before
    installed = [f"{name}=={settings.pop(name)}" for name in ("numpy", "scipy") if name in settings]
    if len(settings) + len(installed) < len(names):
        return "run this where the others were made"
    steps = [f"install {' and '.join(installed)}"] if installed else []
    steps += [f"set {' and '.join(f'{name}={value!r}' for name, value in settings.items())}"] if settings else []
    return f"{' and '.join(steps)}, or run this where the others were made"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
