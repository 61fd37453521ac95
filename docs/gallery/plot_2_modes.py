"""
What a model has learned: modes of shape and texture
====================================================

The mean in the middle, two standard deviations to either side.
"""

from modelaug import AppearanceModel, TextureOptions, phantoms, plots, quality

# %%
# With one level of locality the modes of the texture are principal components of the images on the mean shape.

cohort = phantoms.heart(16, shape=(96, 96))
model = AppearanceModel.fit(cohort, texture=TextureOptions(engine="basis", levels=1))
figure = plots.plot_modes(model, modes=3)

# %%
# How much of the variance the first modes hold says how compact a model is.

print("shape:  ", quality.compactness(model.shape)[:6].round(2))
print("texture:", quality.compactness(model.texture)[:6].round(2))
