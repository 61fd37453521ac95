"""
Levels of locality
==================

A model of n shapes has n - 1 modes at most. Locality lets distant parts vary independently, which gives it many more:
it reaches shapes that it has not seen, and draws shapes farther from those that it has.
"""

import numpy as np
from matplotlib.figure import Figure

from modelaug import AppearanceModel, PairSynthesizer, ShapeOptions, phantoms, plots, procrustes, quality

hearts = phantoms.heart(36, shape=(96, 96))
known, unseen = hearts.subset(range(12)), hearts.subset(range(12, 36))
alignment = procrustes(known.landmarks * known.spacing)
shapes = {
    "known": alignment.shapes / known.spacing,
    "unseen": alignment.align(unseen.landmarks * known.spacing) / known.spacing,
}

levels = [1, 2, 3, 4, 5]
models = [AppearanceModel.fit(known, shape=ShapeOptions(levels=each)) for each in levels]
reached = [quality.generalization(model.shape, shapes["unseen"]) for model in models]
rng = np.random.Generator(np.random.Philox(0))
drawn = [quality.specificity(model.shape, shapes["known"], rng, draws=200) for model in models]

# %%
# Lower is better in both. The steep fall of the first is worth the slow rise of the second.

figure = Figure(figsize=(6, 3.2), layout="constrained")
ax = figure.subplots()
ax.plot(levels, reached, "o-", label="error of unseen shapes (generalization)")
ax.plot(levels, drawn, "s-", label="from drawn shapes to the nearest known (specificity)")
ax.set_xticks(levels)
ax.set_xlabel("levels of locality")
ax.set_ylabel("pixels")
ax.set_ylim(0)
ax.legend(frameon=False)
for each, model in zip(levels, models, strict=True):
    print(f"{each} levels: {len(model.shape.variances):3} modes")

# %%
# What that looks like: pairs of a classical model and of one with four levels.

classical = plots.plot_pairs([PairSynthesizer(models[0]).draw(i) for i in range(2)], objects=hearts.objects)

# %%

local = plots.plot_pairs([PairSynthesizer(models[3]).draw(i) for i in range(2)], objects=hearts.objects)
