"""Full disks, for which a limit on the length of files stands: the file is named, and nothing is half there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="needs a POSIX")

from modelaug import Cohort, ModelFileError
from modelaug.io.cohorts.folders import write_cohort_folder
from modelaug.io.files.writing import writing
from tests.examples import one_line, plane

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np
import modelaug
from modelaug import io
from modelaug.io.cohorts.folders import write_cohort_folder
from modelaug.io.files.provenance import write_json
from tests.examples import heart_model, plane, philox

folder, limit, wanted = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
rng, placed = philox(0), io.Geometry([1.0, 1.0])
image, field = rng.normal(size=(50, 60)).astype(np.float32), rng.normal(size=(2, 50, 60)).astype(np.float32)
synthesizer = modelaug.PairSynthesizer(heart_model(), seed=1)

def network(path):
    from modelaug.learning import FlowNetS, save_network
    save_network(FlowNetS(width=0.03), path)

def checkpoint(path):
    import torch
    from modelaug.learning.checkpoints import write_checkpoint
    write_checkpoint(path, {"weights": torch.zeros(10_000)})

def figure(path):
    from modelaug import plots
    plots.save_figure(plots.plot_pairs([synthesizer.draw(0)], objects=heart_model().objects), path)

writers = {
    "cohort.npz": plane().save,
    "model.npz": heart_model().save,
    "values.json": lambda path: write_json(path, {"values": list(range(3000))}),
    "net.safetensors": network,
    "last.ckpt": checkpoint,
    "folder": lambda path: write_cohort_folder(path, plane()),
    **{f"figure{kind}": figure for kind in (".png", ".pdf")},
    **{f"image{kind}": lambda path: io.write_image(path, image, geometry=placed)
       for kind in (".nii", ".nii.gz", ".mha", ".nrrd", ".npy")},
    "image.png": lambda path: io.write_image(path, rng.integers(0, 255, (50, 60)).astype(np.uint8)),
    **{f"u{kind}": lambda path: io.write_field(path, field, geometry=placed)
       for kind in (".nii", ".nii.gz", ".mha", ".nrrd")},
    **{f"u{kind}": lambda path: io.write_field(path, field) for kind in (".npz", ".flo")},
    **{f"points{kind}": lambda path: io.write_landmarks(path, rng.uniform(0, 50, (2000, 2)), geometry=placed)
       for kind in (".csv", ".mrk.json", ".fcsv", ".pts", ".npy")},
    **{f"shards {kind}": lambda path, kind=kind: io.write_shards(synthesizer, 3, path, format=kind, threads=1)
       for kind in ("npz", "tar", "chairs")},
}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for name in wanted or writers:
    try:
        writers[name](folder / name)
    except OSError as error:
        print(name, "|", error)
    else:
        print(name, "| written")
"""


def told(folder: Path, limit: int, *wanted: str) -> dict[str, str]:
    """Return what is told of each file that is written where none may be longer than so many bytes."""
    command = [sys.executable, "-c", SCRIPT, str(folder), str(limit), *wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(line.split(" | ", 1) for line in done.stdout.splitlines())  # type: ignore[misc]


def test_whatever_is_written_is_named(tmp_path: Path) -> None:
    for name in ("torch", "safetensors", "matplotlib", "SimpleITK", "PIL"):
        pytest.importorskip(name)
    found = told(tmp_path, 2000)
    assert len(found) == 28
    for name, message in found.items():
        path, reason = message.split(" cannot be written (")
        assert path.startswith(str(tmp_path / name)), message
        assert not path.endswith(".tmp")
        assert reason.endswith(")")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*(f"shards {kind}/manifest.json" for kind in ("npz", "tar", "chairs")), "folder/cohort.toml"}


def test_a_folder_that_is_not_finished_is_no_cohort_and_is_finished_later(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    message = told(tmp_path, 2000, "folder")["folder"]
    assert f"{tmp_path}/folder/" in message
    with pytest.raises(ModelFileError, match=r"cohort\.toml is of a folder that was not written to its end") as caught:
        Cohort.load(tmp_path / "folder")
    one_line(caught.value)
    (tmp_path / "folder" / "images").mkdir(exist_ok=True)
    (tmp_path / "folder" / "images" / ".000.nii.gz.abc_12.tmp").write_bytes(b"half")
    (tmp_path / "folder" / ".cohort.toml.abc_12.tmp").write_bytes(b"half")
    other = plane().subset([0, 1])
    with pytest.raises(ValueError, match="is there and not empty"):
        write_cohort_folder(tmp_path / "folder", other)
    write_cohort_folder(tmp_path / "folder", plane())
    write_cohort_folder(tmp_path / "whole", plane())

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(tmp_path / "folder") == contents(tmp_path / "whole")
    with pytest.raises(ValueError, match="is there and not empty"):
        write_cohort_folder(tmp_path / "folder", plane())  # which is finished


@pytest.mark.parametrize(
    ("error", "every", "message"),
    [
        (OSError(28, "No space left"), False, "a.npz cannot be written (No space left)"),
        (
            PermissionError(13, "Permission denied", "/.a.npz.x.tmp"),
            True,
            "a.npz cannot be written (Permission denied)",
        ),
        (PermissionError(13, "Permission denied", "b"), False, "[Errno 13] Permission denied: 'b'"),
        (
            OSError("5 asked\nand 3 written"),
            False,
            "a.npz cannot be written (5 asked and 3 written; the disk may be full)",
        ),
    ],
)
def test_an_error_names_the_file_that_is_written(error: OSError, every: bool, message: str) -> None:
    with pytest.raises(type(error)) as caught, writing("a.npz", all=every):
        raise error
    assert (str(caught.value), caught.value.errno) == (message, error.errno)
