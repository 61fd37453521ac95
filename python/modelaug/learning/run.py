"""One training run: what is trained and how, where its files lie, and whether files are of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelaug.io.files.provenance import refuse_other
from modelaug.io.files.reading import legible
from modelaug.learning.network import RegistrationNetwork, architecture_of, known_network
from modelaug.learning.options import TrainOptions
from modelaug.learning.processes import Processes

__all__ = ["Run"]


@dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    Parameters
    ----------
    network
        What is trained.
    options
        How.
    folder
        Where its files lie.
    processes
        Those that train together; they see other batches than fewer would.
    about
        What the pairs come from, in the form in which it comes back from a JSON file; None if that is not known.
    real
        Hash of the real subjects that take part, if there are any.
    """

    network: RegistrationNetwork
    options: TrainOptions
    folder: Path
    processes: Processes
    about: Mapping[str, Any] | None = None
    real: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return what the run notes about itself in its files, beside the architecture."""
        return {
            "options": self.options.as_json(),
            "processes": self.processes.count,
            "source": self.about,
            "real": self.real,
        }

    def check_same(self, noted: Mapping[str, Any]) -> None:
        """Refuse to continue a run of another network, with other options, processes or, where it is noted, pairs.

        Parameters
        ----------
        noted
            What the run noted about itself: ``architecture``, and what `identity` returns. Options that did not exist
            when it was noted had what is now the default, as had arguments of the network; there was one process.

        Raises
        ------
        ValueError
            If something differs.
        """
        for name in ("architecture", "options"):
            if not isinstance(noted.get(name, {}), Mapping):
                raise self._another(f"{name} {noted[name]!r}")
        options = {**_flat(TrainOptions(1).as_json()), "steps": "unknown", **_flat(noted.get("options") or {})}
        others = {"processes": noted.get("processes", 1), "real": noted.get("real")}
        old = {**_architecture(noted.get("architecture") or {}), **options, **others}
        now = {"processes": self.processes.count, "real": self.real}
        new = {**architecture_of(self.network), **_flat(self.options.as_json()), **now}
        for name in {**new, **old}:
            if name.startswith("real.") and old["real"] is None and new["real"] is None:
                continue  # options of pairs that there are not
            if old.get(name, ...) != new.get(name, ...):
                raise self._another(f"{name} {old.get(name, 'unknown')!r}, not {new.get(name)!r}")
        if self.about is not None and noted.get("source") is not None:
            refuse_other(self.folder, noted["source"], self.about)

    def _another(self, what: str) -> ValueError:
        remedy = "pass another folder, or resume=False (--restart) to overwrite it"
        return ValueError(legible(f"out is {self.folder}, which holds a run with {what}; {remedy}"))


def _architecture(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a noted architecture with the arguments that did not exist when it was noted."""
    arguments = dict(noted)
    try:
        with torch.device("meta"):  # without memory: a note may ask for any size
            return architecture_of(known_network(arguments.pop("name", "FlowNetS"))(**arguments))
    except (TypeError, ValueError):
        return dict(noted)  # of something else, which the comparison will say


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with those of the groups under names such as ``"loss.overlap"``, also where they once were."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if name in ("loss", "real") and isinstance(value, Mapping):
            flat |= {f"{name}.{member}": each for member, each in value.items()}
        else:
            flat[f"loss.{name}" if name in ("scale_weights", "normalize") else name] = value
    return flat
