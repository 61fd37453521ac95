"""The weights that come with the package, of networks pretrained on generated shapes."""

from __future__ import annotations

from pathlib import Path

from modelaug import _checks
from modelaug.io.files.reading import ModelFileError
from modelaug.learning.network import RegistrationNetwork, adapt_channels
from modelaug.learning.storage import load_network


def shipped_file(ndim: int) -> Path:
    """Return the file of the weights for images of `ndim` axes; ``bench/pretrain.py`` makes it."""
    axes = _checks.integer("ndim", ndim, minimum=2, maximum=3)
    return Path(__file__).parent / "weights" / f"pyramid{axes}d.safetensors"


def shipped_network(ndim: int = 2, *, image_channels: int = 1) -> RegistrationNetwork:
    """Return the `PyramidNetwork` that comes with the package, trained on `modelaug.baselines.MovingShapes`.

    It knows no anatomy, and is the best start for `train`. No real image was used, so its licence is the package's.

    Parameters
    ----------
    ndim
        Axes of the images, 2 or 3.
    image_channels
        Channels of each image, see `adapt_channels`.

    Returns
    -------
    PyramidNetwork
        float32 on the CPU, in evaluation mode.

    Raises
    ------
    ModelFileError
        If the installation lacks the weights.
    """
    file = shipped_file(ndim)
    if not file.exists():
        raise ModelFileError(f"{file} is not installed; install modelaug again, or begin without weights")
    network = adapt_channels(load_network(file), image_channels)
    network.seen = None
    return network
