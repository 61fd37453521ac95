"""A training run: network, options, folder and data, and the check that files belong to the same run."""

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


@dataclass(frozen=True, eq=False)
class Run:
    """A training run.

    Parameters
    ----------
    network
        The network.
    options
        Of the training.
    folder
        Of the run's files.
    processes
        Those that train together; their number changes the batches.
    about
        Provenance of the pairs, as read from JSON; None if unknown.
    real
        Hash of the real subjects, if there are any.
    """

    network: RegistrationNetwork
    options: TrainOptions
    folder: Path
    processes: Processes
    about: Mapping[str, Any] | None = None
    real: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return the metadata of the run for its files, without the architecture."""
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
            Metadata of the run: ``architecture``, and the members of `identity`. Missing options and arguments of the
            network, from earlier versions, count as today's defaults, a missing number of processes as 1.

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
                continue  # options without effect
            if old.get(name, ...) != new.get(name, ...):
                raise self._another(f"{name} {old.get(name, 'unknown')!r}, not {new.get(name)!r}")
        if self.about is not None and noted.get("source") is not None:
            refuse_other(self.folder, noted["source"], self.about)

    def _another(self, what: str) -> ValueError:
        remedy = "pass another folder, or resume=False (--restart) to overwrite it"
        return ValueError(legible(f"out is {self.folder}, which holds a run with {what}; {remedy}"))


def _architecture(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an architecture with today's defaults for missing arguments."""
    arguments = dict(noted)
    try:
        with torch.device("meta"):  # without memory, as the size is unchecked
            return architecture_of(known_network(arguments.pop("name", "FlowNetS"))(**arguments))
    except (TypeError, ValueError):
        return dict(noted)  # the comparison will report it


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under names such as ``"loss.overlap"``, also those that files of earlier versions do not group."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if name in ("loss", "real") and isinstance(value, Mapping):
            flat |= {f"{name}.{member}": each for member, each in value.items()}
        else:
            flat[f"loss.{name}" if name in ("scale_weights", "normalize") else name] = value
    return flat
