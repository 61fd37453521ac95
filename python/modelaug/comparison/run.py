"""Run a comparison: folds of subjects, every method on the same test pairs, a table and a report.

Every method in every fold is a task with a file of results; finished tasks are not repeated. Tasks run one after the
other, or on the workers of a Dask scheduler.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelaug import _checks, _core
from modelaug._arrays import Field
from modelaug.comparison.methods import Fold, new_network, prepare_method, pretrain_network
from modelaug.comparison.options import CompareOptions
from modelaug.comparison.report import write_report
from modelaug.data.cohort import Cohort
from modelaug.evaluation import make_table, score_pairs, scored_labels, split_folds, table_markdown, test_pairs
from modelaug.evaluation.examples import Example
from modelaug.io.files.archives import write_archive, write_atomically
from modelaug.io.files.arrays import open_archive
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder, file_digest, write_json
from modelaug.io.files.reading import ModelFileError, read_own_json, refusing
from modelaug.io.files.writing import remove_leftovers

_LOG = logging.getLogger("modelaug.comparison")
_FORMAT: Final = "modelaug registration scores"
_VERSION: Final = 1
_NETWORKS: Final = "FlowNet"
_FILES: Final = ("cohort.npz", SOURCE, "table.json", "table.md", "report.html")
_LONGEST_WAIT: Final = 60.0
"""Seconds to wait for a lost worker of the same task to end."""


@dataclass(frozen=True)
class Task:
    """One method in one fold, or the pre-training of all networks, with all that a worker needs.

    Attributes
    ----------
    out
        Folder of the comparison.
    options
        Options of the comparison.
    method
        Name of the method, or "" for the pre-training.
    fold
        Number of the fold.
    threads
        Number of threads; None means all cores of the machine that runs the task.
    """

    out: Path
    options: CompareOptions
    method: str
    fold: int
    threads: int | None

    @property
    def folder(self) -> Path:
        """Folder of the task's results."""
        if not self.method:
            return self.out / "pretrained"
        slug = "".join(c if c.isalnum() else "-" for c in self.method.lower()).strip("-")
        return self.out / f"fold{self.fold}" / slug

    @property
    def result(self) -> Path:
        """File that marks the finished task."""
        return self.folder / ("done.json" if not self.method else "scores.json")


def compare(
    cohort: Cohort,
    out: str | Path,
    *,
    name: str,
    options: CompareOptions | None = None,
    weights: str | Path | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Compare registration methods on a cohort by cross-validation, as in the paper's table 1.

    Subjects are split into folds; every ordered pair of a fold's subjects is registered by methods that learned from
    all others. The folder gets ``table.json``, ``table.md``, ``report.html``, and for every method in every fold a
    folder with its network and scores. A second call continues, also with more methods.

    Parameters
    ----------
    cohort
        With landmarks and, for overlaps, labels.
    out
        The folder, made if need be.
    name
        Name of the cohort in the table.
    options
        Methods, metric and networks; defaults if None.
    weights
        A network of `modelaug.learning.train` to use as the pre-trained one, of the architecture in the options; by
        default one is trained on moving shapes.
    scheduler
        Address of a Dask scheduler whose workers run the tasks; they must have the folder at the same path. Workers
        with one task at a time, ``dask worker --nthreads 1``, serve best.
    threads
        Threads of a task; None means all cores.

    Returns
    -------
    dict
        The table, see `modelaug.evaluation.make_table`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the folder holds another comparison.
    ConnectionError
        If the scheduler does not answer or is lost.
    BlockingIOError
        If another run works in the folder; the message says which.
    FolderLostError
        If the folder was removed meanwhile.
    """
    options = options or CompareOptions()
    if threads is not None:
        _checks.thread_count(threads)
    if len(cohort.grid) != len(options.network.grid):
        raise ValueError(
            f"cohort has images of {cohort.grid} and networks see {options.network.grid}; pass a grid of as many axes"
        )
    if options.metric == "jaccard" and cohort.labels is None:
        raise ValueError("cohort has no labels to overlap; pass one that has, or metric='contour_distance'")
    if len(cohort) < 2 * options.folds or len(cohort) - -(-len(cohort) // options.folds) < 2:
        raise ValueError(f"folds is {options.folds} for {len(cohort)} subjects; pass at most half as many folds")
    folder = Path(out).resolve()
    tasks = [
        Task(folder, options, method, fold, threads) for fold in range(options.folds) for method in options.methods
    ]

    def state() -> str:
        return f"{sum(task.result.exists() for task in tasks)} of {len(tasks)} methods and folds are in it"

    with hold_folder(folder, contents=state):
        remove_leftovers(folder, _FILES.__contains__)
        _record_comparison(folder, cohort, options, weights)
        pretrained = weights is None and options.network.pretrain_steps > 0
        if pretrained and any(task.method.startswith(_NETWORKS) for task in tasks):
            _run_tasks([Task(folder, options, "", 0, threads)], scheduler)
        _run_tasks(tasks, scheduler)
        return _summarize(folder, cohort, name, tasks, options)


def run_task(task: Task) -> None:
    """Run a task, unless its result is there."""
    if task.result.exists():
        return
    if not (task.out / "cohort.npz").exists():
        raise ModelFileError(f"{task.out / 'cohort.npz'} is not there; use a folder that all machines share")
    with hold_folder(task.folder, patience=_LONGEST_WAIT):
        for each in (task.folder, *(path for path in task.folder.rglob("*") if path.is_dir())):
            remove_leftovers(each, lambda _: True)  # all in there is the task's
        if not task.result.exists():
            _run_method(task)


def _run_method(task: Task) -> None:
    """Train and score a method in a fold, or pre-train, and write the results."""
    threads = _checks.thread_count(task.threads)
    started = time.perf_counter()
    cohort = Cohort.load(task.out / "cohort.npz")
    if not task.method:
        channels = cohort.images.shape[1]
        pretrain_network(task.folder, task.options, channels=channels, threads=threads)
        write_json(task.result, {"seconds": time.perf_counter() - started})
        return
    train, test = split_folds(len(cohort), task.options.folds, task.options.seed)[task.fold]
    training = cohort.subset(train)
    label_ids = task.options.labels
    if label_ids is None and training.labels is not None:
        label_ids = tuple(int(each) for each in scored_labels(training.labels))
    fold = Fold(training, label_ids, task.folder, task.out, task.options, threads)
    registers = prepare_method(task.method, fold)
    prepared = time.perf_counter() - started
    pairs = test_pairs(test)
    shown = (pairs[0], pairs[len(pairs) // 2])
    records: list[dict[str, Any]] = []
    examples: list[tuple[str, int, int, Field]] = []
    for row, register in registers.items():
        found = score_pairs(cohort, pairs, register, label_ids=label_ids, threads=threads)
        for pair, (record, field) in zip(pairs, found, strict=True):
            records.append({"method": row, "fold": task.fold, **record})
            if pair in shown:
                examples.append((row, *pair, field))
    _write_examples(task.folder / "examples.npz", examples)
    # Scores are written last, as they mark the finished task.
    scores = {"format": _FORMAT, "version": _VERSION, "seconds_to_prepare": prepared}
    write_json(task.result, {**scores, "seconds": time.perf_counter() - started, "records": records})
    for row in registers:
        mean = np.mean([r[task.options.metric] for r in records if r["method"] == row and task.options.metric in r])
        _LOG.info("fold %d, %s: %s %.3f (%.0f s)", task.fold, row, task.options.metric, mean, prepared)


def _record_comparison(folder: Path, cohort: Cohort, options: CompareOptions, weights: str | Path | None) -> None:
    """Record the comparison in the folder, with the cohort and given weights."""
    network, digest = None, ""
    if weights is not None:
        from modelaug.learning import load_network, save_network
        from modelaug.learning.network import architecture_of
        from modelaug.learning.storage import weights_file

        network, digest = load_network(weights), file_digest(weights_file(weights))
        wanted = architecture_of(new_network(options.network, cohort.images.shape[1]))
        found = architecture_of(network)
        if found != wanted:
            raise ValueError(f"weights are of {_describe(found)}; pass those of {_describe(wanted)}")
    folder.mkdir(parents=True, exist_ok=True)
    given = folder / "cohort.npz"
    if not given.exists():
        cohort.save(given)
    elif not _same_cohort(Cohort.load(given), cohort):
        raise ValueError(f"out is {folder}, which holds the comparison of another cohort; pass another folder")
    source: dict[str, Any] = {"comparison": options.identity(), "modelaug": _core.build_config()["version"]}
    if network is not None:
        source["weights_sha256"] = digest
    claim_folder(folder, source)
    if network is not None and not (folder / "pretrained" / "done.json").exists():
        save_network(network, folder / "pretrained")
        write_json(folder / "pretrained" / "done.json", {"seconds": 0.0})


def _describe(architecture: Mapping[str, Any]) -> str:
    """Return a network's architecture in words."""
    return f"{architecture['name']} ({', '.join(f'{k} {v}' for k, v in architecture.items() if k != 'name')})"


def _same_cohort(a: Cohort, b: Cohort) -> bool:
    if a.names != b.names or a.objects != b.objects or (a.labels is None) != (b.labels is None):
        return False
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("images", "landmarks", "labels", "spacing")
        if getattr(a, name) is not None
    )


def _run_tasks(tasks: list[Task], scheduler: str | None) -> None:
    """Run the unfinished ones of the tasks, here or on a scheduler's workers."""
    missing = [task for task in tasks if not task.result.exists()]
    if not missing:
        return
    if scheduler is None:
        for task in missing:
            run_task(task)
        return
    from modelaug.io.shards.distributed import run_remotely

    run_remotely(scheduler, run_task, missing, "modelaug-compare", lambda _: None)
    lost = [str(task.result) for task in missing if not task.result.exists()]
    if lost:
        raise ConnectionError(f"workers wrote {lost[0]} somewhere else; use a folder that all machines share")


def _summarize(folder: Path, cohort: Cohort, name: str, tasks: list[Task], options: CompareOptions) -> dict[str, Any]:
    """Write the table and the report from the tasks' files."""
    # Tasks are ordered by fold, the table by row.
    records = [record for task in tasks for record in _read_scores(task)]
    rows = list(dict.fromkeys(record["method"] for record in records))
    records.sort(key=lambda record: rows.index(record["method"]))
    table = make_table(records, metric=options.metric, cohort=name)
    write_json(folder / "table.json", table)
    text = table_markdown(table, reference="FlowNet-SAM")
    write_atomically(folder / "table.md", text.encode())
    curves: dict[str, dict[int, Path]] = {}
    for task in tasks:
        if (log := task.folder / "net" / "metrics.csv").exists():
            curves.setdefault(task.method, {})[task.fold] = log
    examples = [each for task in tasks if task.fold == 0 for each in _read_examples(task, cohort)]
    write_report(folder / "report.html", cohort=cohort, table=table, records=records, examples=examples, curves=curves)
    return table


def _write_examples(path: Path, examples: list[tuple[str, int, int, Field]]) -> None:
    names = [[row, fixed, moving] for row, fixed, moving, _ in examples]
    fields = np.stack([field for *_, field in examples])
    write_archive(path, {"names": np.array(json.dumps(names)), "fields": fields})


def _read_scores(task: Task) -> list[dict[str, Any]]:
    found = read_own_json(task.result, format=_FORMAT, version=_VERSION)
    with refusing(task.result, "holds no scores of this comparison", "remove it to score again"):
        records: list[dict[str, Any]] = found["records"]
        for record in records:
            names = [record[key] for key in ("method", "fixed", "moving")]
            figures = [value for key, value in record.items() if key not in ("method", "fixed", "moving")]
            if record["fold"] != task.fold or not all(isinstance(each, str) for each in names):
                raise ValueError("a record is not of its fold, or names no method and subjects")
            if not all(each is None or isinstance(each, (int, float)) for each in figures):
                raise TypeError("a score is no number")
    return records


def _read_examples(task: Task, cohort: Cohort) -> list[Example]:
    path = task.folder / "examples.npz"
    with (
        open_archive(path) as archive,
        refusing(path, "holds no examples", f"remove {task.folder.name}/ to score again"),
    ):
        archive.require("names", "fields")
        names, shape = archive.read_json("names"), archive.headers["fields"].shape
        if shape != (len(names), len(cohort.grid), *cohort.grid):
            raise ValueError(f"fields has shape {shape} for {len(names)} pairs of images of {cohort.grid}")
        return [
            Example(task.fold, str(row), _subject(fixed, cohort), _subject(moving, cohort), field)
            for (row, fixed, moving), field in zip(names, archive.read("fields"), strict=True)
        ]


def _subject(number: Any, cohort: Cohort) -> int:
    return _checks.integer("subject", number, minimum=0, maximum=len(cohort) - 1)
