"""The methods of the table: how each learns from a fold's training subjects and registers two images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from modelaug._arrays import Field
from modelaug._random import generator
from modelaug.baselines import LabelShapes, MovingShapes, RandomDeformations, RegisteredPairs
from modelaug.comparison.options import FROM_SCRATCH, PRETRAINED, CompareOptions, NetworkOptions
from modelaug.data.cohort import Cohort
from modelaug.data.resampling import resize_cohort
from modelaug.evaluation import Register, metric_info, no_registration, score_registration
from modelaug.io.files.provenance import claim_folder, write_json
from modelaug.io.files.reading import read_own_json, refusing
from modelaug.models.appearance import AppearanceModel, ShapeOptions, TextureOptions
from modelaug.registration import (
    VariationalOptions,
    choose_options,
    refine,
    region_of_interest,
    register_syn,
    register_variational,
)
from modelaug.registration.refinement import REFINING
from modelaug.synthesis import PairOptions, PairSource, PairSynthesizer, ResidualOptions

if TYPE_CHECKING:
    from modelaug.learning import RegistrationNetwork

_CANDIDATES: Final = (
    *(VariationalOptions(alpha=alpha, levels=4, match="histogram") for alpha in (0.5, 1.0, 2.0, 3.0)),
    *(VariationalOptions(alpha=alpha, levels=4, match="range") for alpha in (0.3, 0.5, 1.0, 2.0)),
)
_CHOICE: Final = "modelaug choice of a registration"
_TRIALS: Final = 12
"""Number of training pairs on which the parameters of the classical registration are chosen."""


@dataclass(frozen=True)
class Fold:
    """Training data, folders and options of a method in one fold.

    Attributes
    ----------
    training
        Subjects to learn from.
    label_ids
        Structures to score, or None.
    folder
        For files of the method in this fold.
    shared
        For files of all methods and folds.
    options
        Options of the comparison.
    threads
        Number of threads.
    """

    training: Cohort
    label_ids: tuple[int, ...] | None
    folder: Path
    shared: Path
    options: CompareOptions
    threads: int

    @functools.cached_property
    def mask(self) -> Field | None:
        """Region of interest around the contours if they are the metric, as in the paper for hearts, otherwise None."""
        return region_of_interest(self.training) if self.options.metric == "contour_distance" else None


def pretrain_network(folder: Path, options: CompareOptions, *, channels: int = 1, threads: int | None = None) -> Path:
    """Train the network from which all others start on moving shapes, or resume the training, and save it in a folder.

    Returns
    -------
    Path
        The folder.
    """
    network = options.network
    source = MovingShapes(network.grid, seed=options.seed)
    made_by = {name: value for name, value in asdict(network).items() if name not in ("steps", "rate", "passes")}
    claim_folder(folder, {"moving_shapes": {**made_by, "channels": channels, "seed": options.seed}})
    _train(source, folder, options, channels, (network.pretrain_steps, network.pretrain_rate), None, threads)
    return folder


def prepare_method(method: str, fold: Fold) -> Mapping[str, Register]:
    """Train a method, or resume its training, and return a registration function for each of its rows."""
    if method == "Before Reg":
        return {method: no_registration(fold.training, 0)}
    if method == "VarReg":
        d, chosen = len(fold.training.grid), _variational(fold)
        return {method: functools.partial(register_variational, options=chosen, mask=fold.mask, ndim=d, threads=1)}
    if method == "SyN":
        syn = functools.partial(register_syn, spacing=fold.training.spacing, mask=fold.mask)
        return {method: syn, f"{method}, no affine map": functools.partial(syn, affine=False)}
    from modelaug import learning

    network = fold.options.network
    initial = fold.shared / "pretrained" if network.pretrain_steps > 0 and method != FROM_SCRATCH else None
    if method == PRETRAINED:
        if initial is None:
            raise ValueError(f"pretrain_steps is 0, so that there is no {method}; leave it out of methods")
        folder = initial
    else:
        training, folder = resize_cohort(fold.training, network.grid), fold.folder / "net"
        schedule = (network.steps, network.rate)
        channels = training.images.shape[1]
        _train(_SOURCES[method](training, fold), folder, fold.options, channels, schedule, initial, fold.threads)
    once = functools.partial(learning.register, learning.load_network(folder), grid=network.grid, threads=1)
    cascade = functools.partial(once, passes=network.passes, symmetric=True)
    rows: dict[str, Register] = {method: once, f"{method}, cascade": cascade}
    if method == "FlowNet-SAM":
        rows[f"{method}, refined"] = _refined(cascade, fold)
    return rows


def _train(
    source: PairSource,
    folder: Path,
    options: CompareOptions,
    channels: int,
    schedule: tuple[int, float],
    initial: Path | None,
    threads: int | None,
) -> None:
    """Train a network on a source of pairs, starting from another network's weights or at random."""
    from modelaug import learning

    steps, rate = schedule
    network = new_network(options.network, channels) if initial is None else learning.load_network(initial)
    training = learning.recommended_options(
        steps,
        learning_rate=rate,
        batch_size=options.network.batch_size,
        seed=options.seed if initial is None else None,
        validate_every=max(1, steps // 5),
        checkpoint_every=max(1, steps // 10),
        log_every=max(1, steps // 50),
    )
    learning.train(source, network=network, options=training, out=folder, threads=threads)


def new_network(options: NetworkOptions, channels: int) -> RegistrationNetwork:
    """Return an untrained network of the given options, for images with a number of channels."""
    from modelaug.learning.network import known_network

    kind = known_network(options.kind)
    return kind.for_images(options.grid, image_channels=channels, width=options.width)


def _refined(register: Register, fold: Fold) -> Register:
    """Return a registration that refines a network's displacement by the finer levels of the classical method."""
    options = replace(_variational(fold), levels=REFINING.levels)

    def refined(fixed: Field, moving: Field) -> Field:
        start = register(fixed, moving)
        assert start is not None  # networks find something
        return refine(fixed, moving, start, options=options, mask=fold.mask, threads=1)

    return refined


def _variational(fold: Fold) -> VariationalOptions:
    """Choose the parameters of the classical registration on training pairs, or read an earlier choice."""
    training = fold.training
    note = fold.folder.parent / "variational.json"
    if note.exists():
        found = read_own_json(note, format=_CHOICE, version=1)
        with refusing(note, "holds no options of registration", "remove it to choose again"):
            return VariationalOptions(**found["options"])

    def score(fixed: int, moving: int, field: Field) -> float:
        value = score_registration(training, fixed, moving, field, label_ids=fold.label_ids)[fold.options.metric]
        return value if metric_info(fold.options.metric).higher_is_better else -value

    rng = generator(fold.options.seed, 0)
    pairs = [tuple(rng.choice(len(training), 2, replace=False).tolist()) for _ in range(_TRIALS)]
    chosen = choose_options(training, _CANDIDATES, pairs, score, mask=fold.mask, threads=fold.threads)
    write_json(note, {"format": _CHOICE, "version": 1, "options": asdict(chosen)})
    return chosen


def _registered_pairs(training: Cohort, fold: Fold) -> PairSource:
    cache = fold.shared / "registered"
    source = RegisteredPairs(training, seed=fold.options.seed, cache=cache, threads=fold.threads)
    source.register()
    return source


def _model_pairs(
    training: Cohort,
    fold: Fold,
    shape: ShapeOptions | None = None,
    texture: TextureOptions | None = None,
    pairs: PairOptions | None = None,
) -> PairSource:
    """Return pairs of a model, by default with residual deformations of up to 1/64 of the image's extent."""
    model = AppearanceModel.fit(training, shape=shape, texture=texture, threads=fold.threads)
    extent = float(np.max(np.array(training.grid) * training.spacing))
    pairs = pairs or PairOptions(residual=ResidualOptions(amplitude=extent / 64, spacing=extent / 16))
    return PairSynthesizer(model, seed=fold.options.seed, options=pairs)


_SOURCES: Final[Mapping[str, Callable[[Cohort, Fold], PairSource]]] = {
    "FlowNet-Reg": _registered_pairs,
    "FlowNet-Random": lambda training, fold: RandomDeformations(training, seed=fold.options.seed),
    "FlowNet-SAM": _model_pairs,
    "FlowNet-Labels": lambda training, fold: LabelShapes(training, seed=fold.options.seed),
    "FlowNet-SAM, global shapes": functools.partial(_model_pairs, shape=ShapeOptions(levels=1, coverage=0.98)),
    "FlowNet-SAM, Gaussian textures": functools.partial(_model_pairs, texture=TextureOptions(engine="fields")),
    "FlowNet-SAM, no residual": functools.partial(_model_pairs, pairs=PairOptions()),
    FROM_SCRATCH: _model_pairs,
}
