"""PyramidNetwork: a pyramid of warped and correlated features, the recommended network in 2D and 3D."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import leaky_relu, pad

from modelaug import _checks
from modelaug.learning.network import SLOPE, RegistrationNetwork, initialize, uninitialized
from modelaug.learning.sampling import compose_fields, integrate, upsample, warp_images, window

if TYPE_CHECKING:
    from typing import Self

_CHANNELS: Final = {2: (12, 24, 32, 48, 64, 64, 64), 3: (8, 16, 24, 32, 32, 32)}
_DECODER: Final = {2: (64, 32), 3: (32, 16)}
_LEVELS: Final = {2: 5, 3: 4}
_FINEST: Final = {2: 2, 3: 1}
_RADIUS: Final = {2: 3, 3: 1}
_SQUARINGS: Final = 5
_FIRST_SPREAD: Final = 1e-3  # standard deviation of initial weights that predict increments, for displacements near 0
_INPUT_SCALE: Final = 0.25  # of the displacement, in cells, among the decoder's inputs

Update = Literal["composed", "added", "integrated"]


class PyramidNetwork(RegistrationNetwork):
    """A network that warps and correlates features of both images from coarse to fine.

    One encoder sees either image. From its coarsest level on, the moving features are warped by the current
    displacement, both are divided by their root mean square over the channels, and correlated within a radius of cells;
    a few convolutions predict an increment of the displacement from the correlation, the fixed features, the
    displacement and the coarser level's features. This is the scheme of PWC-Net (Sun, Yang, Liu and Kautz, CVPR 2018)
    and of later pyramid registration networks (Dual-PRNet, Hu and others, MICCAI 2019).

    Parameters
    ----------
    ndim
        Axes of the images, 2 or 3.
    image_channels
        Channels of each of the two images.
    width
        Factor on the number of channels of every hidden layer. At most 8.
    levels
        Resolutions of the encoder, 1/2, 1/4, ...; 5 in the plane and 4 in space by default. The coarsest needs at least
        two cells along the longest axis.
    finest
        The last level that predicts a displacement: 1 for 1/2, the default in space, 2 for 1/4, the default in the
        plane. The result is interpolated to the voxels.
    radius
        Of the correlation, in cells of each level; 3 in the plane and 1 in space by default.
    repeats
        Number of passes of the coarsest level, each from the displacement of the last one.
    normalization
        ``"instance"``: the encoder's features have mean 0 and variance 1 over each image.
    update
        Update of the displacement u by an increment v: ``"composed"``, u first; ``"added"``; or ``"integrated"``,
        composed with the exponential of v as a velocity, which is diffeomorphic.
    upsampling
        ``"linear"``, or ``"learned"``: each voxel's displacement is a mean of the surrounding cells' with predicted
        weights (as in RAFT, Teed and Deng, ECCV 2020).
    seed
        Of the initial weights.

    Examples
    --------
    >>> import torch
    >>> from modelaug.learning import PyramidNetwork
    >>> network = PyramidNetwork(3)
    >>> fixed = moving = torch.zeros(1, 1, 32, 48, 32)
    >>> [tuple(u.shape[1:]) for u in network.displacements(fixed, moving)]
    [(3, 16, 24, 16), (3, 8, 12, 8), (3, 4, 6, 4), (3, 2, 3, 2)]
    """

    def __init__(
        self,
        ndim: int = 2,
        *,
        image_channels: int = 1,
        width: float = 1.0,
        levels: int | None = None,
        finest: int | None = None,
        radius: int | None = None,
        repeats: int = 1,
        normalization: Literal["instance"] | None = None,
        update: Update = "composed",
        upsampling: Literal["linear", "learned"] = "linear",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.ndim = d = _checks.integer("ndim", ndim, minimum=2, maximum=3)
        self.image_channels = _checks.integer("image_channels", image_channels, minimum=1, maximum=64)
        self.width = _checks.number("width", width, above=0.0, maximum=8.0)
        most = len(_CHANNELS[d])
        self.levels = _checks.integer("levels", _LEVELS[d] if levels is None else levels, minimum=1, maximum=most)
        finest = min(_FINEST[d], self.levels) if finest is None else finest
        self.finest = _checks.integer("finest", finest, minimum=1, maximum=self.levels)
        self.radius = _checks.integer("radius", _RADIUS[d] if radius is None else radius, minimum=0, maximum=8)
        self.repeats = _checks.integer("repeats", repeats, minimum=1, maximum=16)
        if normalization not in (None, "instance"):
            raise ValueError(f"normalization is {normalization!r}; pass 'instance' or None")
        self.normalization = normalization
        self.update = _checks.choice("update", update, get_args(Update))
        self.upsampling = _checks.choice("upsampling", upsampling, ("linear", "learned"))

        channels = [max(1, round(c * self.width)) for c in _CHANNELS[d][: self.levels]]
        hidden, kept = (max(1, round(c * self.width)) for c in _DECODER[d])
        shifts = (2 * self.radius + 1) ** d
        self.encoder = nn.ModuleList(
            nn.ModuleList([self._convolution(before, c, kernel=4, stride=2), self._convolution(c, c)])
            for before, c in itertools.pairwise([self.image_channels, *channels])
        )
        self.decoder, self.increment = nn.ModuleList(), nn.ModuleList()
        for level in range(self.finest - 1, self.levels):
            inputs = channels[level] + shifts + d + kept
            self.decoder.append(nn.ModuleList([self._convolution(inputs, hidden), self._convolution(hidden, kept)]))
            self.increment.append(self._convolution(kept, d))
        self.kept = kept
        self.mixing = None if self.upsampling == "linear" else self._convolution(kept, 3**d * self.cell(0) ** d)
        self.initialize(seed)

    @classmethod
    def for_images(cls, grid: Sequence[int], *, image_channels: int = 1, width: float | None = None) -> Self:
        """Return a new network with the default levels, or as many as the grid allows; see `RegistrationNetwork`."""
        d = len(_checks.grid_shape("grid", grid))
        levels = min(_LEVELS[d], _most_levels(grid))
        return cls(d, image_channels=image_channels, width=1.0 if width is None else width, levels=levels)

    def _convolution(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
        kind = nn.Conv2d if self.ndim == 2 else nn.Conv3d
        return uninitialized(kind, inputs, outputs, kernel, stride=stride, padding=1)

    def cell(self, level: int) -> int:
        """Return the side in voxels of the cells of a level of the decoder, the finest being 0."""
        return 1 << (self.finest + level)

    @property
    def scales(self) -> tuple[int, ...]:
        """Sides in voxels of the cells of `displacements`, the finest first."""
        cells = tuple(self.cell(level) for level in range(len(self.decoder)))
        return cells if self.upsampling == "linear" else (1, *cells)

    @property
    def scale_weights(self) -> tuple[float, ...]:  # type: ignore[override]
        """All scales count alike."""
        return (1 / len(self.scales),) * len(self.scales)

    def initialize(self, seed: int) -> None:
        """Draw all weights again, with small ones for the increments, so that the first displacement is about 0."""
        initialize(self, seed)
        with torch.no_grad():
            for module in self.increment:
                assert isinstance(module, (nn.Conv2d, nn.Conv3d))
                # Rescaled, so that no second generator is needed.
                module.weight.mul_(_FIRST_SPREAD / math.sqrt(2 / (1 + SLOPE**2) / module.weight[0].numel()))

    def check_grid(self, grid: Sequence[int]) -> None:
        """Check that the network takes images of this shape, or raise ValueError with a remedy."""
        super().check_grid(grid)
        needed = 2**self.levels + 1
        if max(grid) < needed:
            raise ValueError(
                f"images have shape {tuple(grid)}, too small for {self.levels} levels; pass images of {needed} voxels "
                f"or more along an axis, or a network with levels={_most_levels(grid)}"
            )

    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        """Predict displacements at all scales, the finest first; see `RegistrationNetwork.displacements`."""
        features = self._encode(torch.cat([fixed, moving]))
        halves = [each.chunk(2) for each in features]
        return self._decode([(first, second) for first, second in halves], fixed.shape[2:])

    def both_ways(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the finest displacements from the fixed to the moving images, and back; each is encoded once."""
        features = self._encode(torch.cat([fixed, moving]))
        turned = [(each, torch.cat(each.chunk(2)[::-1])) for each in features]
        there, back = self._decode(turned, fixed.shape[2:])[0].chunk(2)
        return there, back

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the displacement at every voxel, (b, ndim, *grid); arguments as in `displacements`."""
        return self.full_resolution(self.displacements(fixed, moving)[0], fixed.shape[2:])

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Return the features (b, c, *cells) of the decoder's levels, the finest first."""
        self.check_grid(images.shape[2:])
        features, x = [], images
        for level, block in enumerate(self.encoder, start=1):
            x = _even(x)
            for convolution in block.children():
                x = self._activated(convolution(x))
            if level >= self.finest:
                features.append(x)
        return features

    def _activated(self, x: Tensor) -> Tensor:
        if self.normalization == "instance":
            axes = tuple(range(2, x.ndim))
            x = (x - x.mean(axes, keepdim=True)) * torch.rsqrt(x.var(axes, keepdim=True, unbiased=False) + 1e-5)
        return leaky_relu(x, SLOPE)

    def _decode(self, features: Sequence[tuple[Tensor, Tensor]], grid: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the displacements at all scales from features of the fixed and the moving images, finest first."""
        fixed = features[-1][0]
        # Nothing moves along an axis of one voxel.
        moves = torch.tensor([float(n > 1) for n in grid], device=fixed.device).reshape(1, -1, *(1 for _ in grid))
        u = fixed.new_zeros((len(fixed), self.ndim, *fixed.shape[2:]), dtype=torch.float32)
        known = fixed.new_zeros((len(fixed), self.kept, *fixed.shape[2:]))
        found: list[Tensor] = []
        for level in reversed(range(len(features))):
            fixed, moving = features[level]
            if found:
                u, known = (upsample(each, 2, fixed.shape[2:]) for each in (u, known))
                u = u * 2
            for _ in range(self.repeats if not found else 1):
                u, known = self._refine(level, fixed, moving, u, known, moves)
            found.insert(0, u)
        scaled = tuple(each * self.cell(level) for level, each in enumerate(found))
        return scaled if self.mixing is None else (self._mix(scaled[0], self.mixing(known), grid), *scaled)

    def _refine(
        self, level: int, fixed: Tensor, moving: Tensor, u: Tensor, known: Tensor, moves: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the displacement in cells after a level, and the level's features."""
        warped = warp_images(moving, u)
        likeness = correlate(_normalized(fixed), _normalized(warped.to(fixed.dtype)), self.radius)
        x = torch.cat([fixed, likeness, (u * _INPUT_SCALE).to(fixed.dtype), known.to(fixed.dtype)], dim=1)
        for convolution in self.decoder[level].children():
            x = leaky_relu(convolution(x), SLOPE)
        v = self.increment[level](x).float() * moves
        if self.update == "added":
            return u + v, x
        if self.update == "integrated":
            v = integrate(v, _SQUARINGS)
        return compose_fields(u, v), x

    def _mix(self, u: Tensor, scores: Tensor, grid: Sequence[int]) -> Tensor:
        """Return displacements at voxels, means of the 3^d cells around them with predicted weights."""
        b, d, *cells = u.shape
        side = self.cell(0)
        weights = scores.float().reshape(b, 3**d, side**d, *cells).softmax(1)
        padded = pad(u, [1, 1] * d, mode="replicate")
        around = torch.stack([window(padded, shift, cells) for shift in itertools.product(range(3), repeat=d)], 1)
        mixed = torch.einsum("bns...,bnd...->bds...", weights, around)
        # Interleave the voxels of the cells: (b, d, side, ..., cells, ...) becomes (b, d, side * cells, ...).
        mixed = mixed.reshape(b, d, *[side] * d, *cells)
        order = [axis for k in range(d) for axis in (2 + d + k, 2 + k)]
        fine = mixed.permute(0, 1, *order).reshape(b, d, *(side * n for n in cells))
        return window(fine, [0] * d, grid)


def _most_levels(grid: Sequence[int]) -> int:
    """Return the number of levels, at least 1, that leave two cells along the longest axis."""
    return max(1, (max(grid) - 1).bit_length() - 1)


def correlate(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Return the local correlation of two feature maps: mean products over channels, for each shift of the second.

    For the gradient only the features are kept, no shifted copies or products.

    Parameters
    ----------
    a, b : Tensor, (n, c, *cells)
        2D or 3D.
    radius
        Largest shift in cells along every axis; beyond the border features are 0.

    Returns
    -------
    Tensor, (n, (2 * radius + 1)^d, *cells)
        Channel k belongs to the k-th shift in array order, from -radius to radius along all axes.
    """
    _checks.integer("radius", radius, minimum=0)
    found: Tensor = _Correlation.apply(a, b, radius)  # type: ignore[no-untyped-call]
    return found


class _Correlation(torch.autograd.Function):
    """`correlate` shift by shift, with a gradient that takes a third of the time of torch's own."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, radius: int) -> Tensor:
        cells = a.shape[2:]
        padded = pad(b, [radius, radius] * len(cells))
        ctx.save_for_backward(a, padded)
        ctx.radius = radius
        found = a.new_empty((len(a), (2 * radius + 1) ** len(cells), *cells))
        for k, shifted in enumerate(_windows(padded, cells, radius)):
            found[:, k] = (a * shifted).mean(1)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        a, padded = ctx.saved_tensors
        cells, radius = a.shape[2:], ctx.radius
        weights = gradients[0] / a.shape[1]
        of_a, of_padded = torch.zeros_like(a), torch.zeros_like(padded)
        pairs = zip(_windows(padded, cells, radius), _windows(of_padded, cells, radius), strict=True)
        for k, (shifted, of_shifted) in enumerate(pairs):
            of_a.addcmul_(weights[:, k : k + 1], shifted)
            of_shifted.addcmul_(weights[:, k : k + 1], a)
        return of_a, window(of_padded, [radius] * len(cells), cells), None


def _windows(padded: Tensor, cells: Sequence[int], radius: int) -> Iterator[Tensor]:
    """Yield views of padded features, one for each shift."""
    for shift in itertools.product(range(2 * radius + 1), repeat=len(cells)):
        yield window(padded, shift, cells)


def _normalized(features: Tensor) -> Tensor:
    """Divide features by their root mean square over the channels."""
    return features * torch.rsqrt(features.square().mean(1, keepdim=True) + 1e-4)


def _even(x: Tensor) -> Tensor:
    """Repeat the last voxels along axes of odd length, so that cells of two voxels fill the grid."""
    odd = [n % 2 for n in x.shape[:1:-1]]
    return pad(x, [side for k in odd for side in (0, k)], mode="replicate") if any(odd) else x
