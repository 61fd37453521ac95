"""How well images are registered."""

from __future__ import annotations

from modelaug.evaluation.contours import contour_distance, landmark_error

__all__ = ["contour_distance", "landmark_error"]
