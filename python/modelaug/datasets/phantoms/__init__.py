"""Generated subjects with landmarks and labels, for demonstrations, tests and benchmarks.

The anatomy varies from subject to subject in many independent ways (size, pose, outline, wall thickness, neighbours),
and so does the imaging (tissue intensities, texture, bias field, noise). Subject i is a pure function of the seed and
i, and its anatomy does not depend on the grid it is drawn on.
"""

from modelaug.datasets.phantoms._blobs import blobs3d
from modelaug.datasets.phantoms._brain import brain
from modelaug.datasets.phantoms._heart import heart

__all__ = ["blobs3d", "brain", "heart"]
