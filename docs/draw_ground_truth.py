"""Draw the picture of docs/ground_truth.md: where the direct flow of a pair disagrees with its two images.

    python docs/draw_ground_truth.py NAME [--cohort FILE.npz]

writes docs/images/disagreement_NAME.png; without a cohort, for generated hearts. Commit only pictures of cohorts whose
licence allows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelaug import AppearanceModel, Cohort, PairOptions, PairSynthesizer, phantoms, warp
from modelaug.plots import save_figure
from modelaug.plots.figures import draw_landmarks

IMAGES = Path(__file__).parent / "images"
SHOWN = 3  # px, the end of the scale


def disagreement(source: PairSynthesizer, index: int) -> np.ndarray:
    """Return how far apart in the mean frame is what both images show, in pixels; NaN where the partner is outside."""
    geometry = source.geometry(index)
    fixed, moving = geometry.maps
    voxels = np.indices(fixed.grid).reshape(2, -1).T.astype(np.float64)
    partners = voxels + geometry.flow.reshape(2, -1).T
    distance = np.linalg.norm(moving.at(partners) - fixed.at(voxels), axis=1)
    inside = ((partners >= 0) & (partners <= np.array(fixed.grid) - 1)).all(axis=1)
    return np.where(inside, distance, np.nan).reshape(fixed.grid)


def show(ax: Axes, image: np.ndarray, title: str, **style: object) -> object:
    ax.set_axis_off()
    ax.set_title(title, fontsize=8)
    return ax.imshow(image, **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--cohort", type=Path)
    arguments = parser.parse_args()
    cohort = Cohort.load(arguments.cohort) if arguments.cohort else phantoms.heart(24)
    model = AppearanceModel.fit(cohort)
    figure = Figure(figsize=(10.5, 6.4), layout="constrained")
    grey = {"cmap": "gray", "vmin": model.intensities[0, 0], "vmax": model.intensities[0, 1]}
    faint = {"cmap": "gray", "vmin": 0, "vmax": 0.2 * np.ptp(model.intensities)}
    heat = {"cmap": "magma", "vmin": 0, "vmax": SHOWN}
    for index, row in enumerate(figure.subplots(3, 5)):
        sources = [
            PairSynthesizer(model, options=PairOptions(flow=f, texture="shared")) for f in ("direct", "composed")
        ]
        direct, composed = (source.draw(index) for source in sources)
        show(row[0], direct.fixed[0], "fixed", **grey)
        for ax, pair, name in ((row[1], direct, "direct"), (row[2], composed, "composed")):
            difference = np.abs(warp(pair.moving, pair.flow) - pair.fixed)[0]
            show(ax, np.where(pair.weight > 0, difference, 0), f"image error, {name}", **faint)
        for ax, source, name in ((row[3], sources[0], "direct"), (row[4], sources[1], "composed")):
            picture = show(ax, disagreement(source, index), f"flow error, {name} (px)", **heat)
        for ax in row:
            draw_landmarks(ax, direct.landmarks_fixed, model.objects, color="tab:green", line_width=0.5, dots=False)
        figure.colorbar(picture, ax=row[4], shrink=0.8)
    save_figure(figure, IMAGES / f"disagreement_{arguments.name}.png", dpi=80)


if __name__ == "__main__":
    main()
