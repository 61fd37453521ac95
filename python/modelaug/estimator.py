"""A scikit-learn estimator of the model and its pairs.

Needs scikit-learn, installed by ``pip install modelaug[sklearn]``.
"""

from __future__ import annotations

from typing import Any, Final

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "modelaug.Augmenter needs scikit-learn; run: pip install 'modelaug[sklearn]'", name=error.name
    ) from None

from modelaug import _checks
from modelaug._checked import flat, grouped, with_values
from modelaug.data.cohort import Cohort
from modelaug.models import quality
from modelaug.models.alignment import Alignment, procrustes
from modelaug.models.appearance import AppearanceModel, ShapeOptions, TextureOptions
from modelaug.synthesis import Pair, PairOptions, PairSynthesizer
from modelaug.transforms.splines import SplineOptions

_KINDS: Final[dict[str, type[Any]]] = dict(
    shape=ShapeOptions, texture=TextureOptions, spline=SplineOptions, pairs=PairOptions
)
_UNFITTED: Final = "nothing is fitted; call fit(cohort) first"
_LIMIT: Final = 3.0  # standard deviations; without a limit, independent landmarks would score best


class Augmenter(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator of scikit-learn that fits an `AppearanceModel` and draws pairs from it.

    ``sklearn.base.clone``, ``sklearn.model_selection.ParameterGrid`` and other tools for estimators can clone, compare
    and search over it. As usual there, arguments are stored unchanged and checked by `fit`, and names of fitted
    attributes end in an underscore. It is a `PairSource`, too; training from ``synthesizer_`` instead saves copies.

    Parameters
    ----------
    shape, texture, spline
        Options of `AppearanceModel.fit`; defaults if None.
    pairs
        Options of `PairSynthesizer`; defaults if None.
    seed
        Seed of the pairs, a non-negative integer.
    threads
        Threads to use; None means all cores. Results do not depend on it.

    Attributes
    ----------
    model_ : AppearanceModel
        The fitted model.
    synthesizer_ : PairSynthesizer
        The source of the pairs.
    alignment_ : Alignment
        The alignment of the training shapes, in mm.

    Examples
    --------
    >>> from modelaug import Augmenter, phantoms
    >>> hearts = phantoms.heart(8, shape=(48, 48))
    >>> augmenter = Augmenter(seed=1).set_params(shape__levels=2).fit(hearts.subset(range(6)))
    >>> augmenter.sample(3).flow.shape
    (3, 2, 48, 48)
    >>> augmenter.score(hearts.subset([6, 7])) < 0
    True
    """

    model_: AppearanceModel
    synthesizer_: PairSynthesizer
    alignment_: Alignment

    def __init__(
        self,
        *,
        shape: ShapeOptions | None = None,
        texture: TextureOptions | None = None,
        spline: SplineOptions | None = None,
        pairs: PairOptions | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.shape = shape
        self.texture = texture
        self.spline = spline
        self.pairs = pairs
        self.seed = seed
        self.threads = threads

    def fit(self, cohort: Cohort, y: None = None) -> Augmenter:
        """Fit the model of a cohort.

        Parameters
        ----------
        cohort
            At least 2 subjects.
        y
            Not used; there because scikit-learn passes it.

        Returns
        -------
        Augmenter
            The estimator itself.
        """
        _check_cohort(cohort)
        for name, kind in _KINDS.items():
            _checks.options(getattr(self, name), kind, name)
        seed = _checks.integer("seed", self.seed, minimum=0)
        shape = self.shape or ShapeOptions()
        alignment = procrustes(cohort.landmarks * cohort.spacing, transform=shape.transform)
        model = AppearanceModel.fit(cohort, shape=shape, texture=self.texture, spline=self.spline, threads=self.threads)
        synthesizer = PairSynthesizer(model, seed=seed, options=self.pairs)
        # All at once: a failed fit keeps the results of an earlier one.
        self.model_, self.synthesizer_, self.alignment_ = model, synthesizer, alignment
        return self

    def draw(self, index: int) -> Pair:
        """Return pair `index`, a pure function of the cohort, the parameters and the index."""
        check_is_fitted(self, msg=_UNFITTED)
        return self.synthesizer_.draw(index)

    def sample(self, n: int = 1, *, first: int = 0) -> Pair:
        """Return pairs `first` to ``first + n - 1``, stacked."""
        check_is_fitted(self, msg=_UNFITTED)
        start = _checks.integer("first", first, minimum=0)
        indices = range(start, start + _checks.integer("n", n, minimum=1))
        return self.synthesizer_.batch(indices, threads=self.threads)

    def score(self, cohort: Cohort, y: None = None) -> float:
        """Score the model on shapes that it was not fitted to; higher is better, 0 is best.

        Parameters
        ----------
        cohort
            Subjects with the training landmarks, spacing included.
        y
            Not used; there because scikit-learn passes it.

        Returns
        -------
        float
            The negative `quality.generalization` of the landmarks, aligned like the training shapes, in voxels of the
            reference space, with coefficients of at most three standard deviations.
        """
        check_is_fitted(self, msg=_UNFITTED)
        model = self.model_
        _check_cohort(cohort)
        if cohort.spacing.tolist() != model.spacing.tolist():
            found, wanted = cohort.spacing.tolist(), model.spacing.tolist()
            raise ValueError(f"cohort has spacing {found}, the model {wanted}; resample the images")
        shapes = self.alignment_.align(cohort.landmarks * cohort.spacing) / cohort.spacing
        return -quality.generalization(model.shape, shapes, limit=_LIMIT)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep
            Whether to return the fields of options as well, such as ``shape__levels``; defaults for options that are
            None.
        """
        found: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name, kind in _KINDS.items():
                within = flat(kind() if found[name] is None else found[name], "__")
                found |= {f"{name}__{each}": value for each, value in within.items()}
        return found

    def set_params(self, **params: Any) -> Augmenter:
        """Set parameters by name, such as ``seed=1`` or ``shape__levels=2``; call `fit` afterwards.

        Nothing changes if a name is unknown or a value invalid.

        Returns
        -------
        Augmenter
            The estimator itself.
        """
        own = self.get_params(deep=False)
        for name in params:
            head, _, rest = name.partition("__")
            if name not in own and not (rest and head in _KINDS):
                raise ValueError(f"{name!r} is no parameter; pass one of {', '.join(self.get_params())}")
        changed, nested = grouped(params, "__")
        for head, within in nested.items():
            current, default = changed.get(head, own[head]), _KINDS[head]()
            options = with_values(default if current is None else current, within, separator="__", where=head)
            changed[head] = None if current is None and options == default else options
        super().set_params(**changed)
        return self


def _check_cohort(cohort: Cohort) -> None:
    _checks.instance("cohort", cohort, Cohort, large=True)
