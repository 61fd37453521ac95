"""Makes the weights that come with the package: a PyramidNetwork trained on generated shapes alone, nobody's data.

``python bench/pretrain.py --ndim 2`` and ``--ndim 3`` train for about a quarter of an hour each on one core and put the
weights, in half precision, and their card into python/modelaug/learning/weights/. An interrupted run continues.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from modelaug import learning
from modelaug.baselines import MovingShapes
from modelaug.learning.shipped import shipped_file

GRIDS: Final = {2: (128, 128), 3: (48, 64, 48)}
STEPS: Final = {2: 4000, 3: 2000}
BATCHES: Final = {2: 8, 3: 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ndim", type=int, choices=(2, 3), required=True)
    parser.add_argument("--steps", type=int, help="of the optimizer")
    parser.add_argument("--out", type=Path, help="folder of the run; build/pretrained2d or 3d by default")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    d = arguments.ndim
    folder = arguments.out or Path("build", f"pretrained{d}d")
    source = MovingShapes(GRIDS[d], seed=0)
    about: dict[str, Any] = {"shapes": list(source.grid), "seed": 0, "options": asdict(source.options)}
    steps = arguments.steps or STEPS[d]
    options = learning.recommended_options(steps, batch_size=BATCHES[d], seed=0, log_every=100, checkpoint_every=200)
    torch.set_num_threads(arguments.threads)
    network = learning.PyramidNetwork(d)
    started = time.perf_counter()
    learning.train(source, network=network, options=options, out=folder, threads=arguments.threads, about=about)
    print(f"{time.perf_counter() - started:.0f} s in this run")

    trained = learning.load_network(folder)
    card = learning.read_card(folder)
    kept = {name: card[name] for name in ("options", "source", "metrics", "seconds_per_step", "versions")}
    licence = "BSD-3-Clause, as modelaug; trained on generated shapes only, made by modelaug.baselines.MovingShapes"
    file = learning.save_network(trained.half(), shipped_file(d), {**kept, "licence": licence})
    again = learning.shipped_network(d)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, {sum(p.numel() for p in again.parameters())} weights")
    print(f"held-out pairs: {card['metrics']}")


if __name__ == "__main__":
    main()
