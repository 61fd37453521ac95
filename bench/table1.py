"""The paper's table 1: what registers real brains and hearts best, by five-fold cross-validation over the subjects.

    python bench/table1.py --brains lpba40.npz --hearts acdc32.npz -o DIR [--preset small|full] [--methods NAME;NAME]
                           [--folds 5] [--weights NET] [--scheduler ADDRESS] [--threads N] [--results FOLDER]

What ``modelaug compare`` does, once per cohort, from one network that is pre-trained first. Brains are judged by the
overlap of their structures, those of the array ``scored_labels`` if the file has it; hearts by the distance of their
contours. DIR keeps everything and is continued by the next run; ``table_lpba40.json``, ``.md`` and those of the hearts
go to the folder of results too. Neither cohort, nor weights trained on them, may be passed on; tables may.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import numpy as np

from modelaug import Cohort
from modelaug.comparison import ABLATIONS, METHODS, CompareOptions, compare, preset_options, pretrain_network

COHORTS = {"brains": ("LPBA40", "jaccard"), "hearts": ("ACDC", "contour_distance")}


def scored_labels(path: Path) -> tuple[int, ...] | None:
    with np.load(path, allow_pickle=False) as arrays:
        return tuple(arrays["scored_labels"].tolist()) if "scored_labels" in arrays else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brains", type=Path, help="cohort file of the brains")
    parser.add_argument("--hearts", type=Path, help="cohort file of the hearts")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder that keeps everything")
    parser.add_argument("--preset", default="small", choices=("tiny", "small", "full"))
    parser.add_argument(
        "--methods", default="all", help="rows, separated by semicolons; 'paper', or 'all' with ablations"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--weights", type=Path, help="folder of modelaug pretrain, instead of pre-training here")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--results", type=Path, help="folder for the tables")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    rows = {"all": (*METHODS, *ABLATIONS), "paper": METHODS}
    methods = rows.get(arguments.methods) or tuple(each.strip() for each in arguments.methods.split(";"))
    network = preset_options(arguments.preset)
    for kind, (name, metric) in COHORTS.items():
        path: Path | None = getattr(arguments, kind)
        if path is None:
            continue
        options = CompareOptions(
            methods=methods, folds=arguments.folds, metric=metric, labels=scored_labels(path), network=network
        )
        weights = arguments.weights or pretrain_network(
            arguments.out / "pretrained", options, threads=arguments.threads
        )
        compare(
            Cohort.load(path),
            arguments.out / name.lower(),
            name=name,
            options=options,
            weights=weights,
            scheduler=arguments.scheduler,
            threads=arguments.threads,
        )
        print((arguments.out / name.lower() / "table.md").read_text())
        if arguments.results is not None:
            arguments.results.mkdir(parents=True, exist_ok=True)
            for suffix in ("json", "md"):
                source = arguments.out / name.lower() / f"table.{suffix}"
                shutil.copyfile(source, arguments.results / f"table_{name.lower()}.{suffix}")


if __name__ == "__main__":
    main()
