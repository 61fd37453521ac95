"""
A source of pairs of one's own
==============================

Whatever has ``draw(index)`` and returns a :class:`modelaug.Pair` is a source: it can be trained from, written to shards
and compared with the model.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from modelaug import Pair, phantoms, plots, warp, warp_points


class SmoothNoise:
    """Real images against themselves, deformed by smoothed noise.

    The moving image is real and the fixed one is it pulled by the flow, which is exact by construction.
    """

    def __init__(self, cohort, *, amplitude=6.0, smoothness=10.0, seed=0):
        self.cohort, self.amplitude, self.smoothness, self.seed = cohort, amplitude, smoothness, seed

    def draw(self, index):
        """Return pair `index`."""
        # Numbers depend on seed and index only: the same pair in any order and in any process.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, index]))
        subject = int(rng.integers(len(self.cohort)))
        noise = rng.standard_normal((2, *self.cohort.grid))
        flow = gaussian_filter(noise, (0, self.smoothness, self.smoothness), mode="reflect")
        flow = (flow * self.amplitude / np.abs(flow).max()).astype(np.float32)
        moving, landmarks = self.cohort.images[subject], self.cohort.landmarks[subject]
        # Landmarks are known in the moving image; a few steps find the points of the fixed image that land on them.
        found = landmarks.copy()
        for _ in range(30):
            found -= warp_points(found, flow) - landmarks
        return Pair(
            fixed=warp(moving, flow),
            moving=moving,
            flow=flow,
            weight=np.ones(self.cohort.grid, np.float32),
            landmarks_fixed=found,
            landmarks_moving=landmarks,
        )


# %%
# Four of its pairs. Note what the model's pairs have and these lack: another subject in the second image.

cohort = phantoms.heart(8, shape=(128, 128))
source = SmoothNoise(cohort)
figure = plots.plot_pairs([source.draw(i) for i in range(4)], objects=cohort.objects)

# %%
# The contract in two lines: fixed landmarks plus flow are moving landmarks, and drawing again gives the same bits.

pair = source.draw(2)
print(f"{np.abs(warp_points(pair.landmarks_fixed, pair.flow) - pair.landmarks_moving).max():.1e} pixels")
assert np.array_equal(source.draw(2).fixed, pair.fixed)

# %%
# Training takes it like any other: ``learning.train(source, network=..., options=..., out="net")``.
