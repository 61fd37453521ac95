"""Short-axis slices through generated hearts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelaug._arrays import Array
from modelaug.data.cohort import Cohort
from modelaug.datasets.phantoms import _heart_image
from modelaug.datasets.phantoms._drawing import Frame, Subject, checked_shape, draw_cohort
from modelaug.datasets.phantoms._heart_anatomy import ENDOCARDIUM, EPICARDIUM, EXTENT, RIGHT, HeartAnatomy


def heart(n: int, *, shape: Sequence[int] = (256, 256), seed: int = 0) -> Cohort:
    """Generate hearts that resemble mid-ventricular short-axis cine MRI at end-diastole.

    Parameters
    ----------
    n
        Number of subjects.
    shape
        Rows and columns of the images, at least 48 each. The field of view is always 256 mm x 256 mm.
    seed
        Subject i depends on `seed` and i only: a longer cohort starts with the shorter one.

    Returns
    -------
    Cohort
        Images (n, 1, *shape) float32 within [0, 255]; 104 landmarks: the left ventricle's epicardium (40) and
        endocardium (32) and the right ventricle's endocardium (32), all closed. The first landmark of each (0, 40, 72)
        lies at the anterior insertion of the right ventricle, landmarks 27, 61 and 83 at the inferior one, and the
        others follow at equal arc length between them. Labels (n, *shape) uint8: 1 right ventricle, 2 left ventricular
        myocardium, 3 its cavity. Contours do not cross: a wall of 2 to 3.2 mm, without a label, lies between the right
        ventricle and the epicardium of the left.

    Examples
    --------
    >>> from modelaug import phantoms
    >>> hearts = phantoms.heart(3, shape=(64, 64))
    >>> hearts.images.shape, hearts.landmarks.shape
    ((3, 1, 64, 64), (3, 104, 2))
    >>> [each.name for each in hearts.objects]
    ['lv_epicardium', 'lv_endocardium', 'rv_endocardium']
    """
    parts = {"lv_epicardium": EPICARDIUM, "lv_endocardium": ENDOCARDIUM, "rv_endocardium": RIGHT}
    frame = Frame(checked_shape(shape, 2, 48), EXTENT)
    return draw_cohort(n, seed, frame, [(name, sum(counts), "closed") for name, counts in parts.items()], _draw)


def _draw(rng: np.random.Generator, frame: Frame, mesh: list[Array]) -> Subject:
    anatomy = HeartAnatomy.draw(rng)
    return anatomy.landmarks(), anatomy.labels(mesh), _heart_image.paint(anatomy, frame, rng)
