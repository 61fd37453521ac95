"""Writing of pairs to shards, many to a file, by one process or by many that share nothing."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from modelaug import _checks, _core
from modelaug.io.files import writing
from modelaug.io.files.locks import LOCK, Hold, hold_folder
from modelaug.io.files.provenance import as_json, file_digest, refuse_other, write_json
from modelaug.io.shards.bits import bits_here, differing_bits
from modelaug.io.shards.formats import FileFormat, file_format
from modelaug.io.shards.manifests import (
    FORMAT,
    VERSION,
    has_manifest,
    is_whole,
    manifest_name,
    plan_of,
    read_manifest,
    shard_entry,
)
from modelaug.models.appearance import AppearanceModel
from modelaug.synthesis import Pair, PairSource, PairSynthesizer
from modelaug.synthesis.pairs import check_source, draw_pairs

Progress = Callable[[int, int], None]

_SHARD: Final = re.compile(r"pairs-(\d{6,})(?:\.\w+)?")
_LOCK: Final = re.compile(r"\.modelaug-(\d+)-of-(\d+)\.lock")
_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = 20.0  # the manifest is saved again after so many times the time that saving it took


def describe_synthesizer(synthesizer: PairSynthesizer, model_file: str | Path) -> dict[str, Any]:
    """Return the identity of a synthesizer's pairs: the SHA-256 of its model's file, the seed and the options."""
    digest, options = file_digest(model_file), asdict(synthesizer.options)
    return {"model_sha256": digest, "seed": synthesizer.seed, "options": options}


def write_shards(
    source: PairSource,
    count: int,
    out: str | Path,
    *,
    shard_size: int = 64,
    first: int = 0,
    format: str = "npz",
    part: tuple[int, int] = (1, 1),
    intensities: tuple[float, float] | None = None,
    identity: Mapping[str, Any] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write pairs to shards, files that hold some pairs each, and a manifest that lists them with their hashes.

    Every file is written under a temporary name until it is complete. A run on a folder that already holds shards of
    the same source adds what is missing, so an interrupted run continues and a larger `count` extends it; a last shard
    that is not full is written again. The bytes of all files depend on the arguments only, and in their last bits on
    `bits_here`, which the manifest notes; a folder of pairs with other bits is refused. So it does not matter how often
    a run was interrupted, or which part of it was made where: put the files of all parts into one folder, at once or in
    the end. A run of the whole recognizes them and writes their common manifest. No two runs that have shards in common
    work in one folder at once.

    Parameters
    ----------
    source
        Where the pairs come from. If it has ``batch(indices, threads=None)``, a stacked `Pair`, that is used instead of
        ``draw``.
    count
        Number of pairs, in all parts together.
    out
        The folder, made if need be.
    shard_size
        Pairs per shard; the last one may have fewer.
    first
        Index of the first pair.
    format
        ``"npz"``: ``pairs-000000.npz``, ... with the arrays of `Pair`, stacked along a first axis, ``index`` (n,), the
        pairs' numbers, and ``info``, a JSON list with an entry per pair. ``"tar"``: ``pairs-000000.tar``, ... for
        WebDataset, with ``000000007.fixed.npy`` and so on for each array of pair 7, and its info in
        ``000000007.json``. ``"chairs"``: ``000000007_img1.ppm`` (fixed), ``000000007_img2.ppm`` (moving) and
        ``000000007_flow.flo`` for pair 7, as in the FlyingChairs data set; for 2D images with 1 or 3 channels.
    part
        (k, K) writes every K-th shard from the k-th on, counted from 1, and ``manifest-k-of-K.json`` instead of
        ``manifest.json``.
    intensities
        For ``"chairs"`` only: the intensities that become the bytes 0 and 255, for all pairs and channels; what is
        beyond is clamped. By default the range of the images that the source's model was fitted to.
    identity
        What the pairs depend on, e.g. from `describe_synthesizer`; must be JSON. It is noted in the manifest, and a
        folder whose manifest notes something else is refused.
    threads
        Threads for the source's ``batch``; None means all cores. One more writes a shard while the next one is drawn.
    progress
        Called with (pairs done, pairs in all), both of this part.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `out` holds other pairs or more of them.
    ModelFileError
        If a manifest in `out` cannot be read.
    BlockingIOError
        If another run is writing some of these shards; the message says which.
    FolderLostError
        If the folder, or shards in it, were removed meanwhile; the message gives the number of pairs left.
    """
    plan = plan_shards(source, count, out, shard_size, first, format, part, intensities, identity)
    workers = _checks.thread_count(threads)
    with Ledger(plan, progress) as ledger, ThreadPoolExecutor(1) as writer:
        pending: Future[dict[str, Any]] | None = None
        try:
            for number in ledger.missing:
                batches = draw_shard(plan, number, source, workers, ledger.report)
                if pending is not None:
                    done, pending = pending, None
                    ledger.add(done.result())
                pending = writer.submit(store_shard, plan, number, batches)  # while the next one is drawn
        finally:
            if pending is not None:
                ledger.add(pending.result())
    return plan.manifest


@dataclass(frozen=True)
class ShardPlan:
    """Distribution of pairs over shards, and the shards of this part.

    Attributes
    ----------
    folder
        Where the shards lie.
    count, shard_size, first, format, part, intensities
        As in `write_shards`.
    identity
        What the pairs depend on, as in JSON.
    bits
        What their last bits depend on besides, see `bits_here`.
    """

    folder: Path
    count: int
    shard_size: int
    first: int
    format: str
    part: tuple[int, int]
    intensities: tuple[float, float] | None
    identity: dict[str, Any] = field(hash=False)
    bits: dict[str, Any] = field(hash=False, default_factory=bits_here)

    @property
    def numbers(self) -> range:
        """The shards of this part."""
        k, parts = self.part
        return range(k - 1, -(-self.count // self.shard_size), parts)

    @property
    def pairs(self) -> int:
        """Number of pairs in this part."""
        return sum(len(self.indices(number)) for number in self.numbers)

    @property
    def files(self) -> FileFormat:
        """The format of the shards' files."""
        return file_format(self.format, self.intensities)

    @property
    def lock(self) -> str:
        """Name of the file that a run of this part locks."""
        k, parts = self.part
        return LOCK if parts == 1 else f".modelaug-{k}-of-{parts}.lock"

    def rivals(self) -> list[str]:
        """Return the locks in the folder of all other parts that have shards in common with this one."""
        found = []
        for path in self.folder.glob(".modelaug*.lock"):
            match = _LOCK.fullmatch(path.name)
            if path.name == self.lock or (path.name != LOCK and match is None):
                continue
            k, parts = (1, 1) if match is None else (int(match[1]), int(match[2]))
            if parts > 0 and (k - self.part[0]) % math.gcd(parts, self.part[1]) == 0:
                found.append(path.name)
        return found

    @property
    def manifest(self) -> Path:
        """Where the manifest of this part lies."""
        return self.folder / manifest_name(self.part)

    def indices(self, number: int) -> range:
        """Return the indices of the pairs in a shard."""
        start = number * self.shard_size
        return range(self.first + start, self.first + min(start + self.shard_size, self.count))

    def header(self) -> dict[str, Any]:
        """Return the manifest without the bits and the shards."""
        values = {
            "format": FORMAT,
            "version": VERSION,
            "modelaug": _core.build_config()["version"],
            "source": self.identity,
            "first": self.first,
            "count": self.count,
            "shard_size": self.shard_size,
            "file_format": self.format,
        }
        if self.intensities is not None:
            values["intensities"] = list(self.intensities)
        return values if self.part == (1, 1) else values | {"part": list(self.part)}


def plan_shards(
    source: PairSource,
    count: int,
    out: str | Path,
    shard_size: int,
    first: int,
    format: str,
    part: tuple[int, int],
    intensities: tuple[float, float] | None,
    identity: Mapping[str, Any] | None,
) -> ShardPlan:
    """Check the arguments of `write_shards` and return the plan; nothing is written."""
    check_source(source)
    plan = ShardPlan(
        folder=Path(out),
        count=_checks.integer("count", count, minimum=1),
        shard_size=_checks.integer("shard_size", shard_size, minimum=1),
        first=_checks.integer("first", first, minimum=0),
        format=format,
        part=_checked_part(part),
        intensities=_intensities(source, intensities) if format == "chairs" else intensities,
        identity=as_json("identity", {} if identity is None else identity),
    )
    if plan.first + plan.count > 2**64:
        raise ValueError(f"first is {plan.first} and count {plan.count}; pass indices below 2^64")
    files = plan.files
    if format == "chairs":  # the only one that does not take every pair
        files.check(source.draw(plan.first))
    return plan


def draw_shard(
    plan: ShardPlan, number: int, source: PairSource, threads: int, report: Callable[[int], None] | None = None
) -> list[Pair]:
    """Draw the pairs of a shard, in stacks of some; `report` gets the number of each stack."""
    batches: list[Pair] = []
    for batch in _draw(source, plan.indices(number), threads):
        batches.append(batch)
        if report is not None:
            report(len(batch.fixed))
    return batches


def store_shard(plan: ShardPlan, number: int, batches: Sequence[Pair]) -> dict[str, Any]:
    """Write the pairs of a shard and return its entry in the manifest."""
    indices, files = plan.indices(number), plan.files
    files.write(plan.folder, number, indices, batches)
    return shard_entry(plan.folder, files.names(number), indices[0], len(indices))


class Ledger:
    """The manifest of a run while it is written: the shards that are missing, and those that are done.

    As a context it holds the folder, removes what a killed run left half-written, saves the manifest at the beginning,
    now and then, and at the end, also of a run that fails. A shard that is done but not noted is written again, with
    the same bytes. At the end of a run that succeeded all its shards are there.

    Parameters
    ----------
    plan
        The run.
    progress
        As in `write_shards`.

    Raises
    ------
    ValueError, ModelFileError, BlockingIOError, FolderLostError
        On entering and leaving, as in `write_shards`.
    """

    def __init__(self, plan: ShardPlan, progress: Progress | None = None) -> None:
        self._plan = plan
        self._progress = progress
        self._shards: dict[int, dict[str, Any]] = {}
        self._bits: dict[str, Any] | None = plan.bits  # of what is in the folder; None where nobody noted them
        self._done = 0
        self._pairs = plan.pairs
        self._due = 0.0
        self._saved = False
        self._hold: Hold
        self._holding = ExitStack()

    @property
    def missing(self) -> list[int]:
        """The shards to be written."""
        return [number for number in self._plan.numbers if self._plan.indices(number)[0] not in self._shards]

    def report(self, pairs: int) -> None:
        """Report to `progress` that more pairs are drawn."""
        self._done += pairs
        if self._progress is not None:
            self._progress(self._done, self._pairs)

    def add(self, shard: dict[str, Any]) -> None:
        """Note that a shard is done."""
        self._shards[shard["first"]] = shard
        self._saved = False
        if time.monotonic() >= self._due:
            self._save()

    def __enter__(self) -> Ledger:
        plan = self._plan
        with self._holding:
            self._hold = self._holding.enter_context(
                hold_folder(plan.folder, name=plan.lock, rivals=plan.rivals, contents=self._contents)
            )
            finished, self._bits = _finished(plan)
            found = [shard for shard in finished if _is_planned(plan, shard) and is_whole(plan.folder, shard)]
            self._shards = {shard["first"]: shard for shard in found}
            if self.missing:
                _refuse_other_bits(plan, self._bits)
            self._done = sum(shard["count"] for shard in found)
            remove_shard_leftovers(plan)
            self._save()
            if self._done:
                self.report(0)
            self._holding = self._holding.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: Any) -> None:
        with ExitStack() as holding:
            holding.push(self._holding)
            if not self._saved and not self._hold.lost:
                with suppress(*(() if kind is None else (OSError,))):  # what ended the run is what matters
                    self._save()
            if kind is None and len(self._whole()) < len(self._plan.numbers):
                raise writing.FolderLostError(
                    f"{self._plan.folder} lost files while it was written to; {self._contents()}"
                )

    def _whole(self) -> list[dict[str, Any]]:
        """Return the shards whose files are complete."""
        return [shard for shard in self._shards.values() if is_whole(self._plan.folder, shard)]

    def _contents(self) -> str:
        return f"{sum(shard['count'] for shard in self._whole())} of {self._pairs} pairs are in it"

    def _save(self) -> None:
        began = time.monotonic()
        shards = [self._shards[start] for start in sorted(self._shards)]
        bits = {} if self._bits is None else {"bits": self._bits}
        write_json(self._plan.manifest, self._plan.header() | bits | {"shards": shards})
        self._saved = True
        # Saved after every shard, a long manifest would take more time than the shards.
        self._due = time.monotonic() + _PATIENCE * (time.monotonic() - began)


def remove_shard_leftovers(plan: ShardPlan) -> None:
    """Remove the temporary files of the plan's shards and manifest; other parts may be at work."""

    def of(name: str) -> bool:
        match = _SHARD.fullmatch(name)
        return name == plan.manifest.name or (match is not None and int(match[1]) in plan.numbers)

    writing.remove_leftovers(plan.folder, of)


def _finished(plan: ShardPlan) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the entries of all shards in the folder and the bits that it notes, or refuse another plan's folder."""
    if not has_manifest(plan.folder):
        return [], plan.bits
    before, now = read_manifest(plan.folder), plan.header()
    # The source last: where a single seed differs, that is named, not all of it.
    old, new = plan_of(before), plan_of(now)
    sources = (old.pop("source"), new.pop("source"))
    refuse_other(plan.folder, old, new)
    refuse_other(plan.folder, *sources)
    if before["count"] > plan.count:
        raise ValueError(
            f"count is {plan.count} but {plan.folder} is to hold {before['count']}; pass that many, or another folder"
        )
    return before["shards"], before.get("bits")


def _refuse_other_bits(plan: ShardPlan, noted: Mapping[str, Any] | None) -> None:
    """Raise ValueError if pairs made here would differ in the last bits from those in the folder."""
    if noted is None:
        _LOG.warning(
            "%s does not note what its pairs' last bits depend on; those added may differ in them", plan.folder
        )
        return
    differing = differing_bits(noted, plan.bits)
    if differing is not None:
        raise ValueError(f"{plan.folder} holds pairs made with {differing}, or pass another folder")


def _is_planned(plan: ShardPlan, shard: Mapping[str, Any]) -> bool:
    """Return whether a shard in a manifest is one of the plan's, with all its pairs."""
    number = (shard["first"] - plan.first) // plan.shard_size
    if number not in plan.numbers or shard["count"] != len(plan.indices(number)):
        return False
    return tuple(file["file"] for file in shard["files"]) == plan.files.names(number)


def _checked_part(part: tuple[int, int]) -> tuple[int, int]:
    try:
        k, parts = part
    except (TypeError, ValueError):
        raise TypeError(f"part is {part!r}; pass (k, K) for the k-th of K parts") from None
    parts = _checks.integer("part[1]", parts, minimum=1)
    return _checks.integer("part[0]", k, minimum=1, maximum=parts), parts


def _intensities(source: PairSource, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the range of a source's intensities: the given one, or the range of its model, if it has one."""
    if given is not None:
        try:
            lowest, highest = (float(each) for each in given)
        except (TypeError, ValueError):
            raise TypeError(f"intensities is {given!r}; pass (lowest, highest)") from None
        return lowest, highest
    model = getattr(source, "model", None)
    if not isinstance(model, AppearanceModel):
        return None
    # One range for all channels, or colours would change.
    return (
        float(min(model.intensities.min(), model.background.min())),
        float(max(model.intensities.max(), model.background.max())),
    )


def _draw(source: PairSource, indices: Sequence[int], threads: int) -> Iterator[Pair]:
    """Yield the pairs at `indices` a few at a time, stacked."""
    step = 4 * threads
    for start in range(0, len(indices), step):
        yield draw_pairs(source, indices[start : start + step], threads)
