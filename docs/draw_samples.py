"""Draw the pictures of docs/method.md: images drawn from a cohort's model, by levels of locality and by texture engine.

    python docs/draw_samples.py NAME [--cohort FILE.npz]

writes docs/images/levels_NAME.png and docs/images/engines_NAME.png; without a cohort, for generated hearts. Commit only
pictures of cohorts whose licence allows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from modelaug import AppearanceModel, Cohort, PairSynthesizer, ShapeOptions, TextureOptions, phantoms
from modelaug.plots import save_figure
from modelaug.plots.figures import draw_landmarks

IMAGES = Path(__file__).parent / "images"
ENGINES = {
    "basis, 1 level (principal components)": TextureOptions(engine="basis", levels=1),
    "fields, 2 levels": TextureOptions(engine="fields", levels=2),
    "fields, 4 levels": TextureOptions(engine="fields", levels=4),
    "patchwork, 2 levels": TextureOptions(engine="patchwork", levels=2),
    "patchwork, 4 levels": TextureOptions(engine="patchwork", levels=4),
}
COLUMNS = 6


def draw(path: Path, models: dict[str, AppearanceModel]) -> None:
    """Draw the fixed images of the first pairs of each model, a row each."""
    figure = Figure(figsize=(1.6 * COLUMNS, 1.75 * len(models)), layout="constrained")
    rows = figure.subplots(len(models), COLUMNS, squeeze=False)
    for axes, (name, model) in zip(rows, models.items(), strict=True):
        source = PairSynthesizer(model)
        for i, ax in enumerate(axes):
            pair = source.draw(i)
            high = np.quantile(pair.fixed, 0.995)
            ax.imshow(pair.fixed[0], cmap="gray", vmin=model.intensities[0, 0], vmax=high)
            draw_landmarks(ax, pair.landmarks_fixed, model.objects, color="tab:orange", line_width=0.7, dots=False)
            ax.set_axis_off()
        axes[0].set_title(name, loc="left", fontsize=8)
    save_figure(figure, path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--cohort", type=Path)
    arguments = parser.parse_args()
    cohort = Cohort.load(arguments.cohort) if arguments.cohort else phantoms.heart(24)
    shapes = {
        f"{n} level{'s' if n > 1 else ''} of shape": AppearanceModel.fit(cohort, shape=ShapeOptions(levels=n))
        for n in (1, 2, 3, 4)
    }
    draw(IMAGES / f"levels_{arguments.name}.png", shapes)
    textures = {name: AppearanceModel.fit(cohort, texture=options) for name, options in ENGINES.items()}
    draw(IMAGES / f"engines_{arguments.name}.png", textures)


if __name__ == "__main__":
    main()
