"""
A model of a few hearts, and pairs drawn from it
================================================

From sixteen subjects with landmarks to any number of training pairs.
"""

from modelaug import AppearanceModel, PairSynthesizer, phantoms, plots

# %%
# Generated hearts stand for the few annotated scans that a group has. Landmarks are numbered alike in every subject and
# belong to three contours.

cohort = phantoms.heart(16, shape=(128, 128))
figure = plots.plot_cohort(cohort, limit=8)

# %%
# Fitting aligns the shapes, pulls the images onto the mean shape, and learns how shape, texture and pose vary.

model = AppearanceModel.fit(cohort)
print(f"{len(model.shape.variances)} modes of shape from {len(cohort)} subjects")

# %%
# A pair is a fixed and a moving image, the flow between them, and a weight that says where landmarks vouch for it. Pair
# 7 of seed 0 is the same today and tomorrow, alone and in a batch.

pairs = PairSynthesizer(model, seed=0)
pair = pairs.draw(7)
print(pair.fixed.shape, pair.moving.shape, pair.flow.shape, pair.weight.shape)
figure = plots.plot_pairs([pairs.draw(i) for i in range(4)], objects=model.objects)
