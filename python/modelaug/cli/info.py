"""``modelaug info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from modelaug import AppearanceModel, Cohort, ModelFileError, io, jacobian_determinant
from modelaug.cli._console import out, print_table
from modelaug.cli._files import kind_of_file
from modelaug.io.files.reading import refusing
from modelaug.io.shards.manifests import MANIFEST, has_manifest, read_manifest, shard_bytes

__all__ = ["info"]

# What is shown of each level, and of all levels together, under which name; ratios are relative to the data.
_COLUMNS = {
    "threshold": "threshold (mm)",
    "modes": "modes",
    "trace_ratio": "variance ratio",
    "covered": "variance ratio",
    "put_back": "put back",
    "worst_residual": "residual",
    "skipped": "skipped",
}
_WHOLE = {
    "trace": "variance of the data",
    "trace_ratio": "variance ratio of the model",
    "variance_ratio": "variance ratio of the model",
    "coordinates": "variance ratio of the coordinates",
    "global_modes": "variance ratio of the global modes",
}


def info(
    path: Annotated[
        Path,
        typer.Argument(
            help="Cohort, model or displacement field; folder of a network or of pairs.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a file or folder holds."""
    kind, facts = describe(path)
    if as_json:
        out.print(json.dumps({"kind": kind, "path": str(path), **facts}, indent=2))
    else:
        tables = _locality_tables(path, facts.pop("locality", {}))
        print_table({name.replace("_", " "): _text(value) for name, value in facts.items()}, title=f"{path}: {kind}")
        for table in tables:
            print_table(**table)


def describe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return what kind of thing lies at a path, and facts about it, as in JSON.

    Raises
    ------
    ModelFileError
        If it does not exist, cannot be read, or is nothing that this package writes or reads.
    """
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; check the path")
    if has_manifest(path):
        return "pairs", _pairs(path)
    if (path / "net.json").exists() or path.suffix == ".safetensors":
        return "network", _network(path)
    if path.is_dir():
        raise ModelFileError(f"{path} holds neither a network (net.json) nor pairs ({MANIFEST}); pass another folder")
    name, facts = {
        "cohort": ("cohort", _cohort),
        "field": ("displacement field", _field),
        "model": ("appearance model", _model),
    }[kind_of_file(path)]
    return name, facts(path)


def _cohort(path: Path) -> dict[str, Any]:
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


def _model(path: Path) -> dict[str, Any]:
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


def _network(path: Path) -> dict[str, Any]:
    from modelaug import learning

    card = learning.read_card(path)
    parameters = sum(each.numel() for each in learning.load_network(path).parameters())
    return {
        "parameters": parameters,
        **{name: value for name, value in card.items() if name not in ("format", "version")},
    }


def _pairs(path: Path) -> dict[str, Any]:
    manifest = read_manifest(path)
    written = sum(shard["count"] for shard in manifest["shards"])
    return {
        "pairs": manifest["count"],
        "written": written,
        "first": manifest["first"],
        **({"part": "{}/{}".format(*manifest["part"])} if "part" in manifest else {}),
        "shards": len(manifest["shards"]),
        "bytes": sum(map(shard_bytes, manifest["shards"])),
        "file_format": manifest["file_format"],
        "source": manifest["source"],
        "modelaug": manifest["modelaug"],
        "bits": manifest.get("bits"),
    }


def _field(path: Path) -> dict[str, Any]:
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
    """Return what to print of each part of a model that has locality: a table of its levels, and one of the whole."""
    tables: list[dict[str, Any]] = []
    with refusing(path, "holds no readable report on locality", "fit the model again"):
        for part, report in reports.items():
            if report is None:
                continue
            levels, whole = report["levels"], {name: each for name, each in report.items() if name != "levels"}
            columns = [name for name in _COLUMNS if name in levels[0]]
            rows = [[str(i), *(_text(level[name]) for name in columns)] for i, level in enumerate(levels, start=1)]
            header = ["level", *(_COLUMNS[name] for name in columns)]
            tables.append({"rows": rows, "title": f"locality of the {part}", "header": header})
            tables.append({"rows": {_WHOLE.get(name, name): _text(each) for name, each in whole.items()}, "title": ""})
    return tables


def _text(value: Any, *, inline: bool = False) -> str:
    """Return a value for a table; what is within another one in one line."""
    if isinstance(value, dict):
        items = [f"{name.replace('_', ' ')}: {_text(each, inline=True)}" for name, each in value.items()]
        return ", ".join(items) if inline else "\n".join(items)
    if isinstance(value, list):
        return ", ".join(_text(each, inline=True) for each in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
