"""Networks for registration: training data, networks, losses, training, and registration of new images.

Needs torch, safetensors and tqdm, installed by ``pip install modelaug[train]``.
"""

from __future__ import annotations

from importlib.util import find_spec

if absent := [name for name in ("torch", "safetensors", "tqdm") if find_spec(name) is None]:
    raise ModuleNotFoundError(
        f"modelaug.learning needs {', '.join(absent)}; run: pip install 'modelaug[train]'", name=absent[0]
    )

from modelaug._old_names import names_elsewhere
from modelaug.learning.augmentation import AffineRanges, AugmentOptions, transform_pairs
from modelaug.learning.data import PairDataset, PairStream
from modelaug.learning.flownet import FlowNetS, from_flownet, multiscale_epe, to_flownet
from modelaug.learning.intensity import scale_intensity
from modelaug.learning.interoperability import pair_dictionary, pair_from_subject, torchio_subject
from modelaug.learning.losses import (
    diffusion,
    end_point_error,
    fold_penalty,
    local_correlation,
    mean_squares,
    multiscale_error,
    soft_dice,
)
from modelaug.learning.network import RegistrationNetwork, SeenImages, adapt_channels, initialize
from modelaug.learning.options import LossOptions, RealOptions, TrainOptions, recommended_options
from modelaug.learning.pretrained import load_flownet
from modelaug.learning.pyramid import PyramidNetwork
from modelaug.learning.registration import estimate_flow, register
from modelaug.learning.shipped import shipped_network
from modelaug.learning.storage import load_network, read_card, save_network
from modelaug.learning.training import train

__all__ = [
    "AffineRanges",
    "AugmentOptions",
    "FlowNetS",
    "LossOptions",
    "PairDataset",
    "PairStream",
    "PyramidNetwork",
    "RealOptions",
    "RegistrationNetwork",
    "SeenImages",
    "TrainOptions",
    "adapt_channels",
    "diffusion",
    "end_point_error",
    "estimate_flow",
    "fold_penalty",
    "from_flownet",
    "initialize",
    "load_flownet",
    "load_network",
    "local_correlation",
    "mean_squares",
    "multiscale_epe",
    "multiscale_error",
    "pair_dictionary",
    "pair_from_subject",
    "read_card",
    "recommended_options",
    "register",
    "save_network",
    "scale_intensity",
    "shipped_network",
    "soft_dice",
    "to_flownet",
    "torchio_subject",
    "train",
    "transform_pairs",
]

__getattr__ = names_elsewhere(  # public in version 0.1
    __name__, draw_maps="augmentation.draw_maps", vary_intensity="augmentation.vary_intensity"
)
