"""One small valid file of every kind that the package reads, and how it is read."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import AppearanceModel, Cohort, PairSynthesizer, io
from modelaug.cli._pairs_file import read_pairs
from modelaug.cli.info import describe
from modelaug.cli.landmarks import read_points
from modelaug.comparison import CompareOptions, run
from modelaug.correspondence import read_recipe
from modelaug.data.preparation import PreparationOptions
from modelaug.datasets import acdc, lpba40, sunnybrook
from modelaug.evaluation import read_records, write_records
from modelaug.io.files.archives import write_archive
from modelaug.io.files.provenance import claim_folder, write_json
from modelaug.io.images import read_labels
from modelaug.io.shards.source import ShardedPairs
from modelaug.plots.training import read_metrics
from tests.examples import ellipsoids

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    Attributes
    ----------
    name
        What it is called.
    make
        Writes a valid example into a folder.
    read
        Reads what is in the folder, as the package does.
    needs_torch
        Whether its reader imports torch, which takes long.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    needs_torch: bool = False


def _rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(7))


def _plane(dtype: npt.DTypeLike = np.uint8, *shape: int) -> npt.NDArray[Any]:
    return _rng().integers(0, 250, size=shape or (9, 11)).astype(dtype)


PLACED: Final = io.Geometry([1.5, 1.25, 2.0], [3.0, -4.0, 5.0])
FLAT: Final = io.Geometry([1.5, 2.0], [3.0, -4.0])
POINTS: Final = np.array([[1.0, 2.5, 3.0], [2.0, 4.0, 1.0], [0.5, 1.5, 2.5]])


# Images


def _written(name: str, geometry: io.Geometry | None, shape: tuple[int, ...]) -> Callable[[Path], object]:
    return lambda folder: io.write_image(folder / name, _plane(np.int16, *shape), geometry=geometry)


def _through_itk(name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        import SimpleITK as sitk

        sitk.WriteImage(sitk.GetImageFromArray(_plane(np.int16, 4, 6, 5)), str(folder / name))

    return make


def _nifti(name: str, *, kind: str = "Nifti1Image", scaled: bool = False, shape: tuple[int, ...] = (5, 6, 4)) -> Any:
    def make(folder: Path) -> None:
        import nibabel

        image = getattr(nibabel, kind)(_plane(np.int16, *shape), np.diag([-1.5, -1.25, 2.0, 1.0]))
        if scaled:
            image.header.set_slope_inter(0.5, -3.0)
        data = image.to_bytes()
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)

    return make


def _picture(name: str, mode: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        from PIL import Image

        array = _plane(np.uint8, 9, 11, 3) if mode == "RGB" else _plane(np.uint16 if mode == "I;16" else np.uint8)
        picture = Image.fromarray(array)
        (picture.convert("P") if mode == "P" else picture).save(folder / name)

    return make


def _tiff(*shape: int, dtype: npt.DTypeLike = np.uint16, **options: Any) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        import tifffile

        array = _plane(dtype, *(shape or (9, 11)))
        stored = {"photometric": "minisblack", **options}
        tifffile.imwrite(folder / "anna.tif", array, metadata=None, software=False, **stored)

    return make


def _dicom_slice(path: Path, number: int, frames: int = 1) -> None:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan: Any = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    scan.SOPClassUID, scan.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    scan.Modality, scan.SeriesInstanceUID, scan.StudyInstanceUID = "MR", "1.2.4", "1.2.5"
    scan.SeriesNumber, scan.InstanceNumber, scan.PatientID, scan.PatientName = 1, number, "a", "a"
    scan.ImagePositionPatient, scan.ImageOrientationPatient = [-3.5, 4, 8.0 * number], [1, 0, 0, 0, 1, 0]
    scan.PixelSpacing, scan.SliceThickness = [1.5, 1.25], 8
    scan.Rows, scan.Columns, scan.SamplesPerPixel, scan.PhotometricInterpretation = 9, 11, 1, "MONOCHROME2"
    scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 12, 11, 0
    scan.RescaleSlope, scan.RescaleIntercept = 2, -5
    if frames > 1:
        scan.NumberOfFrames, scan.SpacingBetweenSlices = frames, 8
    scan.PixelData = _plane(np.uint16, frames, 9, 11).tobytes()
    pydicom.dcmwrite(path, scan, enforce_file_format=True)


def _series(folder: Path) -> None:
    (folder / "anna").mkdir()
    for number in (1, 2, 3):
        _dicom_slice(folder / "anna" / f"{number}.dcm", number)


def _image(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        io.read_image(folder / name)

    return read


def _labels(name: str) -> Callable[[Path], object]:
    return lambda folder: read_labels(folder / name)


def _arrays(name: str) -> Callable[[Path], object]:
    return lambda folder: write_archive(folder / name, {"image": _plane(np.float32)})


IMAGES: Final = [
    Kind("image .nii", _nifti("anna.nii"), _image("anna.nii")),
    Kind("image .nii scaled", _nifti("anna.nii", scaled=True), _image("anna.nii")),
    Kind("image .nii NIfTI-2", _nifti("anna.nii", kind="Nifti2Image"), _image("anna.nii")),
    Kind("image .nii plane", _nifti("anna.nii", shape=(9, 11)), _image("anna.nii")),
    Kind("image .nii.gz", _nifti("anna.nii.gz"), _image("anna.nii.gz")),
    Kind("labels .nii.gz", _nifti("anna.nii.gz"), _labels("anna.nii.gz")),
    Kind("image .mha", _written("anna.mha", PLACED, (4, 6, 5)), _image("anna.mha")),
    Kind("image .mhd", _through_itk("anna.mhd"), _image("anna.mhd")),
    Kind("image .nrrd", _written("anna.nrrd", PLACED, (4, 6, 5)), _image("anna.nrrd")),
    Kind("image .nhdr", _through_itk("anna.nhdr"), _image("anna.nhdr")),
    Kind("image .png", _picture("anna.png", "L"), _image("anna.png")),
    Kind("image .png 16", _picture("anna.png", "I;16"), _image("anna.png")),
    Kind("image .png colour", _picture("anna.png", "RGB"), _image("anna.png")),
    Kind("labels .png palette", _picture("anna.png", "P"), _labels("anna.png")),
    Kind("image .jpg", _picture("anna.jpg", "RGB"), _image("anna.jpg")),
    Kind("image .tif", _tiff(), _image("anna.tif")),
    Kind("image .tif stack", _tiff(3, 9, 11), _image("anna.tif")),
    Kind("image .tif tiled", _tiff(32, 40, tile=(16, 16)), _image("anna.tif")),
    Kind("image .tif deflate", _tiff(compression="zlib", predictor=True), _image("anna.tif")),
    Kind("image .tif LZW", _tiff(compression="lzw"), _image("anna.tif")),
    Kind(
        "image .tif planar",
        _tiff(3, 9, 11, dtype=np.uint8, photometric="rgb", planarconfig="separate"),
        _image("anna.tif"),
    ),
    Kind("labels .tif", _tiff(dtype=np.uint8), _labels("anna.tif")),
    Kind("image .dcm", lambda f: _dicom_slice(f / "anna.dcm", 1), _image("anna.dcm")),
    Kind("image .dcm frames", lambda f: _dicom_slice(f / "anna.dcm", 1, 3), _image("anna.dcm")),
    Kind("image DICOM series", _series, _image("anna")),
    Kind("image .npy", lambda f: io.write_image(f / "anna.npy", _plane(np.float64)), _image("anna.npy")),
    Kind("labels .npy", lambda f: io.write_image(f / "anna.npy", _plane()), _labels("anna.npy")),
    Kind("image .npz", _arrays("anna.npz"), _image("anna.npz")),
]


# Landmarks and fields


def _points(name: str, geometry: io.Geometry | None = PLACED) -> Kind:
    points = POINTS if geometry is PLACED else POINTS[:, 1:]
    return Kind(
        f"landmarks {name.partition('.')[1]}{name.partition('.')[2]}",
        lambda folder: io.write_landmarks(folder / name, points, geometry=geometry),
        lambda folder: io.read_landmarks(folder / name, geometry=geometry),
    )


def _field(name: str, geometry: io.Geometry | None) -> Kind:
    shape = (2, 5, 6) if geometry is None or geometry is FLAT else (3, 4, 5, 6)

    def read(folder: Path) -> None:
        io.read_field(folder / name)
        describe(folder / name)

    return Kind(
        f"field {name.partition('.')[1]}{name.partition('.')[2]}{' plane' if geometry is FLAT else ''}",
        lambda folder: io.write_field(folder / name, _rng().normal(size=shape).astype(np.float32), geometry=geometry),
        read,
    )


EXCHANGED: Final = [
    *(_points(f"anna{suffix}") for suffix in (".csv", ".mrk.json", ".fcsv", ".npy")),
    _points("anna.pts", None),
    *(_field(f"anna{suffix}", PLACED) for suffix in (".npz", ".nii", ".nii.gz", ".mha", ".nrrd")),
    *(_field(f"anna{suffix}", FLAT) for suffix in (".nii.gz", ".nrrd")),
    _field("anna.flo", None),
]


# Cohorts, models, pairs


@functools.cache
def _cohort() -> Cohort:
    cohort = ellipsoids(3, (18, 16), (1.0, 1.5))
    steps = {name: [{"step": "voxel_size", "from": [1, 1], "to": [1, 1.5]}] for name in cohort.names}
    return Cohort(
        cohort.images,
        cohort.landmarks,
        labels=cohort.labels,
        objects=cohort.objects,
        spacing=cohort.spacing,
        names=["anna", "bert", "carl"],
        preparation={name: steps.get(each, []) for name, each in zip(("anna", "bert", "carl"), steps, strict=True)},
    )


@functools.cache
def _model() -> AppearanceModel:
    return AppearanceModel.fit(_cohort(), threads=1)


def _folder(folder: Path) -> None:
    from modelaug.io.cohorts.folders import write_cohort_folder

    write_cohort_folder(folder, _cohort())


def _pairs(format: str, folder: Path) -> None:
    source = PairSynthesizer(_model(), seed=1)
    intensities = (0.0, 120.0) if format == "chairs" else None
    io.write_shards(source, 3, folder, shard_size=2, threads=1, format=format, intensities=intensities)


def _read_pairs(folder: Path) -> None:
    describe(folder)
    pairs = ShardedPairs(folder, held_out=1)
    pairs.draw(0)
    pairs.draw(2**40 - 1)


def _listed(folder: Path) -> None:
    for name in ("anna", "bert"):
        io.write_image(folder / f"{name}.npy", _plane(np.float32))
    (folder / "pairs.csv").write_text("fixed,moving,name\nanna.npy,bert.npy,first\nbert.npy,anna.npy,second\n")


def _sample(model: AppearanceModel) -> None:
    """Draw a pair: a model that loads must also work."""
    PairSynthesizer(model, seed=0).draw(0)


RECORDS: Final = [
    {"method": m, "fold": k, "fixed": "anna", "moving": "bert", "seconds": 0.5, "dice": 0.25 * k, "hd95": None}
    for m in ("identity", "affine")
    for k in range(3)
]


def _task(folder: Path) -> run.Task:
    return run.Task(folder, CompareOptions(), "none", 1, 1)


def _scored(folder: Path) -> None:
    task = _task(folder)
    task.folder.mkdir(parents=True)
    records = [{"method": "none", "fold": 1, "fixed": "anna", "moving": "bert", "seconds": 0.5, "dice": 0.25}]
    header = {"format": "modelaug registration scores", "version": 1, "seconds_to_prepare": 1.0, "seconds": 1.5}
    write_json(task.result, {**header, "records": records})
    run._write_examples(task.folder / "examples.npz", [("none", 0, 1, np.zeros((2, 18, 16), np.float32))])


def _read_scored(folder: Path) -> None:
    run._read_scores(_task(folder))
    run._read_examples(_task(folder), _cohort())


def _noted(folder: Path) -> None:
    claim_folder(folder, {"cohort": "anna", "options": {"steps": 3, "rate": 0.5}})


OWN: Final = [
    Kind("cohort .npz", lambda f: _cohort().save(f / "anna.npz"), lambda f: Cohort.load(f / "anna.npz")),
    Kind("info of a cohort", lambda f: _cohort().save(f / "anna.npz"), lambda f: describe(f / "anna.npz")),
    Kind("cohort folder", _folder, lambda f: Cohort.load(f)),
    Kind("cohort.toml", _folder, lambda f: Cohort.load(f / "cohort.toml")),
    Kind(
        "model .npz", lambda f: _model().save(f / "anna.npz"), lambda f: _sample(AppearanceModel.load(f / "anna.npz"))
    ),
    Kind("info of a model", lambda f: _model().save(f / "anna.npz"), lambda f: describe(f / "anna.npz")),
    Kind("pairs npz", functools.partial(_pairs, "npz"), _read_pairs),
    Kind("pairs npz verified", functools.partial(_pairs, "npz"), lambda f: io.verify_shards(f)),
    Kind("pairs tar", functools.partial(_pairs, "tar"), lambda f: io.verify_shards(f)),
    Kind("pairs chairs", functools.partial(_pairs, "chairs"), lambda f: io.verify_shards(f)),
    Kind("records", lambda f: write_records(f / "anna.jsonl", RECORDS), lambda f: read_records(f / "anna.jsonl")),
    Kind("table of pairs", _listed, lambda f: read_pairs(f / "pairs.csv", f / "out", None)),
    Kind("note of a folder", _noted, _noted),
    Kind("scores of a comparison", _scored, _read_scored),
]


# Tables and notes of text


def _text(name: str, kind: str, content: Callable[[], str], read: Callable[[Path], object]) -> Kind:
    return Kind(kind, lambda folder: (folder / name).write_text(content()), lambda folder: read(folder / name))


RECIPE: Final = """
[[objects]]
name = "cavity"
labels = [2]
counts = [16, 16]
anchors = [{ rule = "ray", towards = [1] }, { rule = "extreme", direction = [1, 0] }]

[objects.contour]
smoothing = 1.0

[[objects]]
name = "wall"
labels = [1, 2]
counts = [24, 24]
anchors = [{ rule = "nearest", to = ["cavity", 0] }, { rule = "nearest", to = ["cavity", 1] }]
"""


def _metrics() -> str:
    rows = [f"{k},{3 / k},{2 / k},0.001,0.1,{'' if k % 2 else 1 / k}" for k in range(1, 7)]
    return "\n".join(["step,loss,epe,learning_rate,seconds_per_step,validation_epe", *rows]) + "\n"


TEXTS: Final = [
    _text("anna.toml", "recipe", lambda: RECIPE, read_recipe),
    _text(
        "anna.csv",
        "points of subjects",
        lambda: "subject,point,row,column\nanna,apex,1,2\nbert,apex,1.5,2\n",
        lambda path: read_points(path, ("anna", "bert")),
    ),
    _text("anna.csv", "metrics.csv", _metrics, read_metrics),
]


# Public data sets


def _acdc(folder: Path) -> None:
    patient = folder / "patient001"
    patient.mkdir()
    (patient / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    labels = np.zeros((11, 9, 4), np.uint8)
    labels[3:8, 2:7] = 3
    for stem, array in (("patient001_frame01", _plane(np.int16, 11, 9, 4)), ("patient001_frame01_gt", labels)):
        _save_nifti(patient / f"{stem}.nii.gz", array)


def _save_nifti(path: Path, array: npt.NDArray[Any]) -> None:
    import nibabel

    path.write_bytes(gzip.compress(nibabel.Nifti1Image(array, np.diag([1.5, 1.5, 5.0, 1.0])).to_bytes(), mtime=0))


def _lpba40(folder: Path) -> None:
    import nibabel

    for kind, dtype in (("skullstripped", np.int16), ("structure.label", np.uint8)):
        image = nibabel.AnalyzeImage(_plane(dtype, 9, 11, 7, 1), np.eye(4))
        nibabel.save(image, folder / f"S01.delineation.{kind}.img")


def _sunnybrook(folder: Path) -> None:
    contours = folder / "SC-HF-I-01" / "contours-manual" / "IRCCI-expert"
    contours.mkdir(parents=True)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for name, radius in (("i", 2.0), ("o", 3.5)):
        points = np.stack([6 + radius * np.cos(turn), 5 + radius * np.sin(turn)], axis=1)
        text = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
        (contours / f"IM-0001-0001-{name}contour-manual.txt").write_text(text)
    images = folder / "SCD_IMAGES_01" / "SCD0000101" / "CINESAX_300"
    images.mkdir(parents=True)
    _dicom_slice(images / "IM-0003-0001.dcm", 1)
    (folder / "scd_patientdata.csv").write_text("PatientID,OriginalID\nSCD0000101,SC-HF-I-1\n")


DATASETS: Final = [
    Kind("ACDC", _acdc, lambda folder: acdc.read(folder, options=PreparationOptions())),
    Kind("LPBA40", _lpba40, lambda folder: lpba40.read(folder, options=PreparationOptions())),
    Kind("Sunnybrook", _sunnybrook, lambda folder: sunnybrook.read(folder, options=PreparationOptions())),
]


# Networks


def _network(folder: Path) -> None:
    from modelaug.learning import FlowNetS, save_network
    from modelaug.learning.network import SeenImages

    network = FlowNetS(width=0.03, seed=1)
    network.seen = SeenImages((64, 64), (1.0, 1.5))
    save_network(network, folder, {"options": {"steps": 3}, "metrics": {"step": 3}})


def _read_network(folder: Path) -> None:
    from modelaug.learning import load_network

    load_network(folder)
    describe(folder)


def _weights(folder: Path) -> None:
    import torch

    from modelaug.learning import FlowNetS

    state = {f"module._orig_mod.{name}": each for name, each in FlowNetS(width=0.03, seed=1).state_dict().items()}
    torch.save({"arch": "flownets", "state_dict": state, "div_flow": 20}, folder / "anna.pth")


def _read_weights(folder: Path) -> None:
    from modelaug.learning import load_flownet

    load_flownet(folder / "anna.pth")


def _train(folder: Path) -> None:
    from modelaug.learning import FlowNetS, TrainOptions, train
    from tests.learning.toys import Translations

    options = TrainOptions(
        steps=2, batch_size=1, learning_rate=1e-3, validation_pairs=1, validate_every=2, checkpoint_every=1, log_every=1
    )
    source = Translations((16, 16), reach=1.0)
    train(source, network=FlowNetS(width=0.03), options=options, out=folder, threads=1, progress=False)


def _stopped(folder: Path) -> None:
    """Leave what an ended run leaves, but for the word that it was finished."""
    _train(folder)
    card = json.loads((folder / "net.json").read_text())
    (folder / "net.json").write_text(json.dumps(card | {"finished": False}))


LEARNING: Final = [
    Kind("network", _network, _read_network, True),
    Kind("weights .pth", _weights, _read_weights, True),
    Kind("training", _stopped, _train, True),
]


KINDS: Final = {kind.name: kind for kind in (*IMAGES, *EXCHANGED, *OWN, *TEXTS, *DATASETS, *LEARNING)}
"""All kinds by name."""


def make(kind: Kind, folder: Path) -> None:
    """Write the valid example of a kind into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind.make(folder)
