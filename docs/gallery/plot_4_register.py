"""
Registering two images, with and without learning
=================================================

The classical method needs nothing but the two images; a network has to be trained first, and then takes one pass.
"""

import logging
import tempfile

import numpy as np

from modelaug import AppearanceModel, PairSynthesizer, learning, phantoms, plots, warp_points
from modelaug.evaluation import landmark_error
from modelaug.registration import register_variational

hearts = phantoms.heart(14, shape=(64, 64))
fixed, moving = 12, 13  # not among those that the model learns from

# %%
# Variational registration: a velocity field is pushed until the images are alike, and smoothed after every push.

u = register_variational(hearts.images[fixed], hearts.images[moving])
figure = plots.plot_registration(
    hearts.images[fixed],
    hearts.images[moving],
    u,
    landmarks_fixed=hearts.landmarks[fixed],
    landmarks_moving=hearts.landmarks[moving],
    objects=hearts.objects,
)

# %%
# A network that comes with weights, which know how shapes move but no anatomy, trained for seconds on pairs of a model
# of the other twelve. For a real one, train it for some thousand steps.

logging.getLogger("modelaug").setLevel(logging.WARNING)
pairs = PairSynthesizer(AppearanceModel.fit(hearts.subset(range(12))), seed=0)
with tempfile.TemporaryDirectory() as folder:
    options = learning.recommended_options(steps=60, validation_pairs=8)
    learning.train(pairs, network=learning.shipped_network(2), options=options, out=folder, threads=1)
    network = learning.load_network(folder)
v = learning.register(network, hearts.images[fixed], hearts.images[moving])

# %%
# Fixed landmarks plus displacement should land on the moving landmarks.

for name, field in {"nothing": np.zeros_like(u), "variational": u, "network": v}.items():
    landed = warp_points(hearts.landmarks[fixed], field)
    error = landmark_error(landed, hearts.landmarks[moving], hearts.spacing)
    print(f"{name:12} {error:5.2f} mm from the landmarks")
