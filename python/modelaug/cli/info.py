"""``modelaug info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from typer import Argument, Option

from modelaug import AppearanceModel, Cohort, io, jacobian_determinant
from modelaug.cli._console import out, print_table
from modelaug.cli._kinds import detect_kind
from modelaug.io.files.reading import refusing
from modelaug.io.shards.manifests import read_manifest, shard_bytes

# Titles of what is shown of each level of locality, and of the whole model; ratios are relative to the data.
_COLUMNS: Final = {
    "threshold": "threshold (mm)",
    "modes": "modes",
    "trace_ratio": "variance ratio",
    "covered": "variance ratio",
    "put_back": "put back",
    "worst_residual": "residual",
    "skipped": "skipped",
}
_WHOLE: Final = {
    "trace": "variance of the data",
    "trace_ratio": "variance ratio of the model",
    "variance_ratio": "variance ratio of the model",
    "coordinates": "variance ratio of the coordinates",
    "global_modes": "variance ratio of the global modes",
}


def info(
    path: Annotated[Path, Argument(help="Cohort, model or displacement field; folder of a network or of pairs.")],
    as_json: Annotated[bool, Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a file or folder holds."""
    kind, facts = describe(path)
    if as_json:
        out.print(json.dumps({"kind": kind, "path": str(path), **facts}, indent=2))
        return
    tables = _locality_tables(path, facts.pop("locality", {}))
    print_table({name.replace("_", " "): _format(value) for name, value in facts.items()}, title=f"{path}: {kind}")
    for table in tables:
        print_table(**table)


def describe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a file or folder in words, and facts about it as in JSON.

    Raises
    ------
    ModelFileError
        If it does not exist, cannot be read, or is of no known kind.
    """
    name, describe_kind = {
        "cohort": ("cohort", _describe_cohort),
        "field": ("displacement field", _describe_field),
        "model": ("appearance model", _describe_model),
        "pairs": ("pairs", _describe_pairs),
        "training": ("network", _describe_network),
    }[detect_kind(path)]
    return name, describe_kind(path)


def _describe_cohort(path: Path) -> dict[str, Any]:
    cohort = Cohort.load(path)
    return {
        "subjects": len(cohort),
        "channels": cohort.images.shape[1],
        "grid": list(cohort.grid),
        "spacing_mm": cohort.spacing.tolist(),
        "landmarks": cohort.landmarks.shape[1],
        "objects": {each.name: f"{len(each.indices)} {each.kind}" for each in cohort.objects},
        "labels": None if cohort.labels is None else np.unique(cohort.labels).tolist(),
        "intensities": [float(cohort.images.min()), float(cohort.images.max())],
        "names": list(cohort.names),
    }


def _describe_model(path: Path) -> dict[str, Any]:
    model = AppearanceModel.load(path)
    return {
        "channels": model.channels,
        "grid": list(model.grid),
        "spacing_mm": model.spacing.tolist(),
        "landmarks": len(model.reference),
        "objects": {each.name: f"{len(each.indices)} {each.kind}" for each in model.objects},
        "shape_modes": len(model.shape.variances),
        "texture_modes": len(model.texture.variances),
        "options": model.options.as_json(),
        **model.provenance,
    }


def _describe_network(path: Path) -> dict[str, Any]:
    from modelaug import learning

    card = learning.read_card(path)
    parameters = sum(each.numel() for each in learning.load_network(path).parameters())
    return {"parameters": parameters} | {k: value for k, value in card.items() if k not in ("format", "version")}


def _describe_pairs(path: Path) -> dict[str, Any]:
    manifest = read_manifest(path)
    shards = manifest["shards"]
    return {
        "pairs": manifest["count"],
        "written": sum(shard["count"] for shard in shards),
        "first": manifest["first"],
        **({"part": "{}/{}".format(*manifest["part"])} if "part" in manifest else {}),
        "shards": len(shards),
        "bytes": sum(map(shard_bytes, shards)),
        **{name: manifest[name] for name in ("file_format", "source", "modelaug")},
        "bits": manifest.get("bits"),
    }


def _describe_field(path: Path) -> dict[str, Any]:
    displacement, geometry = io.read_field(path)
    lengths = np.linalg.norm(displacement, axis=0)
    return {
        "grid": list(displacement.shape[1:]),
        "spacing_mm": None if geometry is None else geometry.spacing.tolist(),
        "mean_displacement_voxels": float(lengths.mean()),
        "largest_displacement_voxels": float(lengths.max()),
        "folded_voxels": int((jacobian_determinant(displacement) <= 0).sum()),
    }


def _locality_tables(path: Path, reports: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of each part of a model that has locality: its levels, and the whole, for `print_table`."""
    tables: list[dict[str, Any]] = []
    with refusing(path, "holds no readable report on locality", "fit the model again"):
        for part, report in reports.items():
            if report is None:
                continue
            levels = report["levels"]
            columns = [name for name in _COLUMNS if name in levels[0]]
            rows = [[str(i), *(_format(level[name]) for name in columns)] for i, level in enumerate(levels, start=1)]
            whole = {_WHOLE.get(name, name): _format(each) for name, each in report.items() if name != "levels"}
            header = ["level", *(_COLUMNS[name] for name in columns)]
            tables.append({"rows": rows, "title": f"locality of the {part}", "header": header})
            tables.append({"rows": whole, "title": ""})
    return tables


def _format(value: Any, *, inline: bool = False) -> str:
    """Format a value of a table; values within other values in one line."""
    if isinstance(value, dict):
        items = [f"{name.replace('_', ' ')}: {_format(each, inline=True)}" for name, each in value.items()]
        return (", " if inline else "\n").join(items)
    if isinstance(value, list):
        return ", ".join(_format(each, inline=True) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
