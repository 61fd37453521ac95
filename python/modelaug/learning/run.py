"""One training run: what is trained and how, where its files lie, and whether files are of the same run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelaug.io.provenance import refuse_other
from modelaug.learning.flownet import FlowNetS
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
    """

    network: FlowNetS
    options: TrainOptions
    folder: Path
    processes: Processes
    about: Mapping[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Return what the run notes about itself in its files, beside the architecture."""
        return {"options": self.options.as_json(), "processes": self.processes.count, "source": self.about}

    def check_same(self, noted: Mapping[str, Any]) -> None:
        """Refuse to continue a run of another network, with other options, processes or, where it is noted, pairs.

        Parameters
        ----------
        noted
            What the run noted about itself: ``architecture``, and what `identity` returns. Options that did not exist
            when it was noted had what is now the default, networks had no biases in the decoder, and there was one
            process.

        Raises
        ------
        ValueError
            If something differs.
        """
        before, now = noted.get("architecture") or {}, noted.get("options") or {}
        fields = dataclasses.fields(self.options)
        defaults = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
        assumed = {**json.loads(json.dumps(defaults)), "processes": noted.get("processes", 1)}
        architecture = {"decoder_bias": False, **{k: v for k, v in before.items() if k != "name"}}
        old = {**architecture, **assumed, **now}
        new = {**self.network.architecture, **self.options.as_json(), "processes": self.processes.count}
        for name in {**new, **old}:
            if old.get(name, ...) != new.get(name, ...):
                raise ValueError(
                    f"out is {self.folder}, which holds a run with {name} {old.get(name, 'unknown')!r}, not "
                    f"{new.get(name)!r}; pass another folder, or resume=False to overwrite it"
                )
        if self.about is not None and noted.get("source") is not None:
            refuse_other(self.folder, noted["source"], self.about)
