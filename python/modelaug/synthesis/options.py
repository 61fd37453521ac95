"""How pairs are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelaug import _checks
from modelaug.synthesis.acquisition import AcquisitionOptions
from modelaug.synthesis.residual import ResidualOptions

__all__ = ["PairOptions"]


@dataclass(frozen=True)
class PairOptions:
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
        How often a draw is made anew that no map without folds can render, see `Geometry`; after that it is shrunk
        towards the mean until one can.
    allow_folds
        Whether to render every draw whose landmarks are inside the frame, by single splines, as the paper does;
        ``info["folds"]`` then tells how many voxels of the flow fold.
    """

    flow: Literal["composed", "direct"] = "composed"
    texture: Literal["independent", "shared", "mixed"] = "independent"
    shared_probability: float = 0.5
    pose: Literal["cohort", "none"] = "cohort"
    pose_limit: float | None = None
    weight_width: float = 4.0
    weight_unit: Literal["spacing", "mm"] = "spacing"
    residual: ResidualOptions | None = None
    acquisition: AcquisitionOptions | None = None
    max_attempts: int = 20
    allow_folds: bool = False

    def __post_init__(self) -> None:
        _checks.choice("flow", self.flow, ("composed", "direct"))
        _checks.choice("texture", self.texture, ("independent", "shared", "mixed"))
        _checks.choice("pose", self.pose, ("cohort", "none"))
        # As plain numbers, which a manifest can hold.
        share = _checks.number("shared_probability", self.shared_probability, minimum=0.0, maximum=1.0)
        object.__setattr__(self, "shared_probability", share)
        if self.pose_limit is not None:
            object.__setattr__(self, "pose_limit", _checks.number("pose_limit", self.pose_limit, minimum=0.0))
        object.__setattr__(self, "weight_width", _checks.number("weight_width", self.weight_width, above=0.0))
        _checks.choice("weight_unit", self.weight_unit, ("spacing", "mm"))
        for name, kind in (("residual", ResidualOptions), ("acquisition", AcquisitionOptions)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}; pass {kind.__name__}(...) or None")
        object.__setattr__(self, "max_attempts", _checks.integer("max_attempts", self.max_attempts, minimum=1))
        if not isinstance(self.allow_folds, bool):
            raise TypeError(f"allow_folds is {self.allow_folds!r}; pass True or False")
