"""How pairs are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelaug._checked import Checked, Count, NonNegative, Positive, Share
from modelaug.synthesis.acquisition import AcquisitionOptions
from modelaug.synthesis.residual import ResidualOptions


@dataclass(frozen=True)
class PairOptions(Checked):
    """How pairs are drawn.

    Parameters
    ----------
    flow
        ``"composed"``: the correspondence that is truly in the two images, solved for at every voxel. ``"direct"``: a
        map fitted between the two sets of landmarks, as in the paper; it agrees with the images at the landmarks, away
        from them it approximates.
    texture
        ``"independent"``: each image has a texture of its own, as in the paper; ``"shared"``: both have the same, so
        that a pair differs by deformation only; ``"mixed"``: shared with the probability `shared_probability`.
    shared_probability
        Share of the pairs with one texture if `texture` is ``"mixed"``.
    pose
        ``"cohort"``: each image is posed like a subject of the cohort; ``"none"``: both are in the mean frame.
    pose_limit
        Largest coefficient of a mode of the pose, in standard deviations; larger ones are cut down to it. None: no
        limit.
    weight_width
        Distance from the objects at which the weight reaches 0, in `weight_unit`.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks; ``"mm"``.
    residual
        A small random deformation of each image on top of the model's; none by default.
    acquisition
        Random contrast, brightness and noise of each image; none by default.
    max_attempts
        How often a draw is made anew that no map without folds can render, see `PairGeometry`; after that it is shrunk
        towards the mean until one can.
    allow_folds
        Whether to render every draw whose landmarks are inside the frame, by single splines, as the paper does;
        ``info["folds"]`` then tells how many voxels of the flow fold.
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
