"""
A model of a few hearts, and pairs drawn from it
================================================

Sixteen generated hearts stand for the few annotated scans that a group has.
"""

from modelaug import AppearanceModel, PairSynthesizer, phantoms, plots

cohort = phantoms.heart(16, shape=(128, 128))
print(cohort)
figure = plots.plot_cohort(cohort, limit=8)

# %%
# Fitting takes a fraction of a second.

model = AppearanceModel.fit(cohort)
pairs = PairSynthesizer(model, seed=0)
pair = pairs.draw(7)
shown = plots.plot_pairs([pairs.draw(i) for i in range(4)], objects=model.objects)
