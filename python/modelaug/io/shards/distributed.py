"""Work on many machines, through a Dask scheduler: shards of pairs, and any list of tasks.

The only module that imports Dask, installed by ``pip install modelaug[distributed]``. Dask's client, scheduler and
workers send each other pickled objects: connect to a scheduler that you trust, in a network that you trust.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

from distributed import Client, KilledWorker, as_completed

from modelaug import _core
from modelaug.io.files.provenance import file_digest
from modelaug.io.files.reading import one_line, refuse_if
from modelaug.io.shards.bits import bits_here, differing_bits
from modelaug.io.shards.writing import (
    Ledger,
    ShardPlan,
    describe_synthesizer,
    draw_shard,
    plan_shards,
    remove_shard_leftovers,
    store_shard,
)
from modelaug.models.appearance import AppearanceModel
from modelaug.synthesis import PairOptions, PairSynthesizer

_TIMEOUT: Final = 30  # seconds for a scheduler to answer
_LOG: Final = logging.getLogger(__name__)


def write_shards_remotely(
    scheduler: str,
    synthesizer: PairSynthesizer,
    model_file: str | Path,
    count: int,
    out: str | Path,
    *,
    shard_size: int = 64,
    first: int = 0,
    format: str = "npz",
    part: tuple[int, int] = (1, 1),
    intensities: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write shards as `write_shards` does, the same bytes, with the workers of a Dask cluster.

    Every task loads the model, draws one shard in a single thread and writes it into the folder; a task whose worker is
    lost is given to another one. Model and folder must lie at the same place for all workers and for this process, on a
    file system that they share.

    Parameters
    ----------
    scheduler
        Address of the scheduler, e.g. ``"tcp://10.0.0.1:8786"``.
    synthesizer
        Where the pairs come from.
    model_file
        The file of its model.
    count, out, shard_size, first, format, part, intensities, progress
        As in `write_shards`.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ConnectionError
        If the scheduler does not answer or is lost, or several workers are lost over one shard.
    TypeError, ValueError, ModelFileError, BlockingIOError, FolderLostError
        As `write_shards`; and if a worker does not see the same model file and folder, or has another version or, see
        `bits_here`, other last bits than this process.
    """
    model_file = Path(model_file).resolve()
    identity, folder = describe_synthesizer(synthesizer, model_file), Path(out).resolve()
    plan = plan_shards(synthesizer, count, folder, shard_size, first, format, part, intensities, identity)
    with Ledger(plan, progress) as ledger:
        if ledger.missing:
            _collect(scheduler, ledger, plan, (model_file, synthesizer.seed, synthesizer.options))
            remove_shard_leftovers(plan)  # of workers that were lost
    return plan.manifest


def run_remotely(
    scheduler: str, function: Callable[[Any], Any], tasks: Sequence[Any], name: str, done: Callable[[Any], None]
) -> None:
    """Call a function on every task, on the workers of a Dask cluster.

    A task whose worker is lost is given to another one, so tasks must bear being done twice.

    Parameters
    ----------
    scheduler
        Address of the scheduler, e.g. ``"tcp://10.0.0.1:8786"``.
    function, tasks
        What to call, and the arguments; they are pickled for the workers.
    name
        Of the tasks, in Dask's own displays.
    done
        Called here with each result, in the order in which they arrive.

    Raises
    ------
    ConnectionError
        If the scheduler does not answer or is lost, or several workers are lost over one task.
    Exception
        Whatever the function raises on a worker.
    """
    with _connected(scheduler) as client:
        # Not "pure", by which Dask means that a result may be reused: the folder may have changed since.
        futures = client.map(function, tasks, key=name, pure=False)
        for future in as_completed(futures, loop=client.loop):
            try:
                result = future.result()
            except KilledWorker as error:
                lost = "several workers were lost over one task; see their logs, and run this again"
                raise ConnectionError(lost) from error
            except CancelledError as error:
                raise ConnectionError(
                    "the scheduler is lost; start it again, and run this again to continue"
                ) from error
            done(result)


def _connected(scheduler: str) -> Client:
    try:
        client = Client(scheduler, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, asyncio.TimeoutError) as error:  # in Python 3.10 it is no OSError
        message = f"scheduler is {scheduler!r}, which does not answer ({one_line(error)}); start it first"
        raise ConnectionError(message) from error
    if not client.nthreads():
        _LOG.info("the scheduler has no workers yet; waiting for them")
    return client


def _collect(scheduler: str, ledger: Ledger, plan: ShardPlan, synthesis: tuple[Path, int, PairOptions]) -> None:
    """Write the missing shards on the workers and note them as they are done."""

    def note(shard: dict[str, Any]) -> None:
        ledger.add(shard)
        ledger.report(shard["count"])

    version = _core.build_config()["version"]
    write = functools.partial(_write, plan, synthesis, version)
    run_remotely(scheduler, write, ledger.missing, "modelaug-shard", note)


def _write(plan: ShardPlan, synthesis: tuple[Path, int, PairOptions], version: str, number: int) -> dict[str, Any]:
    """Write a shard; runs on a worker."""
    here = _core.build_config()["version"]
    refuse_if(here != version, f"a worker has modelaug {here}, not {version}; install the same on all machines")
    differing = differing_bits(plan.bits, bits_here())
    refuse_if(differing is not None, f"worker {platform.node()}: the pairs are to be made with {differing}")
    unseen = not plan.manifest.exists()
    refuse_if(unseen, f"a worker does not see {plan.manifest}; use a folder that all machines share")
    return store_shard(plan, number, draw_shard(plan, number, _synthesizer(plan, *synthesis), 1))


@functools.lru_cache(maxsize=1)
def _synthesizer(plan: ShardPlan, model_file: Path, seed: int, options: PairOptions) -> PairSynthesizer:
    """Load the source of the pairs on a worker, and check that its model is the same as everywhere."""
    other = file_digest(model_file) != plan.identity["model_sha256"]
    refuse_if(other, f"a worker sees another {model_file}; put the same model there on all machines")
    return PairSynthesizer(AppearanceModel.load(model_file), seed=seed, options=options)
