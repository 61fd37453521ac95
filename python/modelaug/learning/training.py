"""Training of a network on the pairs of a source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import torch

from modelaug import _checks
from modelaug.data.cohort import Cohort
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import as_json
from modelaug.io.files.writing import remove_leftovers
from modelaug.learning._loop import fit
from modelaug.learning.network import RegistrationNetwork
from modelaug.learning.options import TrainOptions
from modelaug.learning.processes import connect
from modelaug.learning.real import RealPairs
from modelaug.learning.run import Run
from modelaug.learning.storage import read_card
from modelaug.synthesis.pairs import HELD_OUT, PairSource, check_source

_LOG = logging.getLogger("modelaug.learning")
_FILES: Final = ("last.ckpt", "metrics.csv", "net.safetensors", "net.json")


def train(
    source: PairSource,
    *,
    network: RegistrationNetwork,
    options: TrainOptions,
    out: str | Path,
    real: Cohort | None = None,
    resume: bool = True,
    progress: bool = True,
    threads: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Train a network on pairs from a source, drawn on demand.

    Step k trains on the pairs from ``k * batch_size`` on, each used once. The loss is `multiscale_error` and the terms
    of ``options.loss``; validation measures the end-point error in voxels at full resolution on held-out pairs of the
    same source. A GPU is used if there is one.

    The folder gets ``metrics.csv``, one line per ``log_every`` steps and validation; ``last.ckpt``, from which an
    interrupted run resumes with the same pairs and optimizer state, so that with the same threads on one machine the
    result is that of a run without interruption; and the kept weights ``net.safetensors`` with their card ``net.json``.
    On SIGTERM the run writes a checkpoint and ends.

    Started by torchrun, in several processes and on several machines that share the folder, each with a GPU or all on
    the CPU, each process trains on ``batch_size`` pairs per step: process r of w in step k on the pairs from ``(k * w +
    r) * batch_size`` on. Gradients are averaged, so that all have the weights of one process with w times the batch, up
    to rounding (except for batch normalisation, which sees each process's own batch). Only the first process validates,
    logs and writes. ::

        torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 my_training.py

    Parameters
    ----------
    source
        Source of the pairs.
    network
        Trained in place; afterwards on the CPU, in evaluation mode, with the weights of the last step, averaged if
        `options` says so.
    options
        Of the training.
    out
        Folder for the results, made if need be.
    real
        Training subjects for real pairs: every step also has pairs of two subjects, with losses of similarity, overlap
        of labels, if any, and smoothness, see `RealOptions`. On the grid of the source's pairs, see
        `modelaug.data.resampling.resize_cohort`.
    resume
        Continue the run in `out`; a finished run returns at once. False starts again and overwrites.
    progress
        Show a bar on a terminal; elsewhere log a line per ``log_every`` steps to
        ``logging.getLogger("modelaug.learning")``.
    threads
        Threads of each process; None means all cores, shared among the machine's processes. On the CPU drawing and
        training alternate, each with all threads; on a GPU the next pairs are drawn during the training. On cores that
        other programs keep busy pass fewer, or 1: torch's threads wait for each other at every layer.
    about
        Provenance of the pairs for the card, e.g. of `modelaug.io.shards.writing.describe_synthesizer`, which has the
        hash of the data; must be JSON. A run of another provenance is not continued.

    Returns
    -------
    Path
        The kept weights, for `load_network`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `out` holds a run with another network or other options.
    FloatingPointError
        If the loss is no longer finite.
    ModelFileError
        If the checkpoint in `out` cannot be read.
    BlockingIOError
        If another run is writing to `out`; the message says which.
    FolderLostError
        If `out` was removed meanwhile.
    """
    check_source(source)
    _check_precision(options.precision, network.ndim)
    options = options.of(network)
    note = None if about is None else as_json("about", about)
    pairs = None if real is None else RealPairs(real, seed=options.seed or 0)
    given = None if threads is None else _checks.thread_count(threads)
    folder = Path(out)
    processes = connect()
    if processes.count * options.steps * options.batch_size > HELD_OUT - options.validation_pairs:
        raise ValueError(f"steps is {options.steps}; pass fewer, so that training leaves out the validation pairs")
    count = given or max(1, _checks.thread_count(None) // processes.local)
    run = Run(network, options, folder, processes, note, None if pairs is None else pairs.digest())
    with hold_folder(folder) if processes.rank == 0 else nullcontext():
        if processes.rank == 0:
            remove_leftovers(folder, _FILES.__contains__)
            for name in () if resume else _FILES:
                (folder / name).unlink(missing_ok=True)
        processes.wait()
        if not _finished(run):
            processes.wait()  # before anything is written, until all have checked the folder
            if options.seed is not None and not (folder / "last.ckpt").exists():
                network.initialize(options.seed)
            fit(source, run, real=pairs, threads=count, progress=progress)
            processes.wait()
    return folder / "net.safetensors"


def _finished(run: Run) -> bool:
    """Return whether the folder holds the finished run; raise ValueError if it holds another."""
    if not (run.folder / "net.json").exists():
        return False
    card = read_card(run.folder)
    run.check_same(card)
    finished = bool(card.get("finished")) and (run.folder / "net.safetensors").exists()
    if finished and run.processes.rank == 0:
        _LOG.info("%s holds the finished run", run.folder)
    return finished


def _check_precision(precision: str, ndim: int) -> None:
    if torch.cuda.is_available():
        return
    if precision == "16-mixed":
        raise ValueError("precision is '16-mixed', which needs a CUDA GPU; pass '32' or 'bf16-mixed'")
    # torch 2.13 reads the gradient of convolutions over two planes of cells from uninitialized memory.
    if precision == "bf16-mixed" and ndim == 3:
        raise ValueError("precision is 'bf16-mixed', which torch gets wrong for volumes without a GPU; pass '32'")
