"""Options of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelaug._checked import Checked, Count, NonNegative, Positive, Share
from modelaug.synthesis.acquisition import AcquisitionOptions
from modelaug.synthesis.residual import ResidualOptions


@dataclass(frozen=True)
class PairOptions(Checked):
    """Options of the synthesis of pairs.

    Parameters
    ----------
    flow
        ``"composed"``: the true correspondence of the two images, solved for at every voxel. ``"direct"``: a map fitted
        between the two sets of landmarks, as in the paper, which agrees with the images at the landmarks and is an
        approximation elsewhere.
    texture
        ``"independent"``: each image has its own texture, as in the paper; ``"shared"``: both have the same, so that
        they differ by deformation only; ``"mixed"``: shared with the probability `shared_probability`.
    shared_probability
        Probability of a shared texture if `texture` is ``"mixed"``.
    pose
        ``"cohort"``: each image has a random pose as in the cohort; ``"none"``: both are in the reference space.
    pose_limit
        Largest coefficient of a mode of the pose, in standard deviations; larger ones are clipped. None: no limit.
    weight_width
        Distance from the objects at which the weight reaches 0, in `weight_unit`.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks; ``"mm"``.
    residual
        A small random deformation of each image on top of the model's; none by default.
    acquisition
        Random contrast, brightness and noise of each image; none by default.
    max_attempts
        Number of attempts at a draw that a diffeomorphic map can render, see `PairGeometry`; then the last draw is
        shrunk towards the mean until one can.
    allow_folds
        Whether to render every draw whose landmarks are inside the grid, by single splines, as in the paper;
        ``info["folds"]`` is then the number of voxels at which the flow folds.
    """

    flow: Literal["composed", "direct"] = "composed"
    texture: Literal["independent", "shared", "mixed"] = "independent"
    shared_probability: Share = 0.5
    pose: Literal["cohort", "none"] = "cohort"
    pose_limit: NonNegative | None = None
    weight_width: Positive = 4.0
    weight_unit: Literal["spacing", "mm"] = "spacing"
    residual: ResidualOptions | None = None
    acquisition: AcquisitionOptions | None = None
    max_attempts: Count = 20
    allow_folds: bool = False
