"""``modelaug register``: images on any grids, what is moved along, what is told, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")

import SimpleITK as sitk
import torch

from modelaug import learning, warp, warp_points
from modelaug.evaluation import dice, hausdorff_distance
from modelaug.io import (
    Geometry,
    read_field,
    read_image,
    read_landmarks,
    read_named_landmarks,
    write_image,
    write_landmarks,
)
from modelaug.io.images import read_labels
from modelaug.registration.affine import register_affine
from tests.cli.test_cli import fails, succeeds

FAST = ("--threads", "1", "--device", "cpu")
TURN = {2: [[0.8, -0.6], [0.6, 0.8]], 3: [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]]}
# One of the axes is counted the other way round, as of a scan from feet to head.
FLIP = {2: [[0.96, 0.28], [0.28, -0.96]], 3: [[0.96, 0.0, 0.28], [0.0, -1.0, 0.0], [-0.28, 0.0, 0.96]]}


def blobs(grid: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Return a smooth random image with intensities from about 0 to 100."""
    noise = np.random.Generator(np.random.Philox(seed)).normal(size=grid)
    smooth = scipy.ndimage.gaussian_filter(noise, 2.5, mode="nearest")
    return np.asarray(50 + 20 * smooth / smooth.std(), np.float32)


def a_network(folder: Path, grid: tuple[int, ...], spacing: tuple[float, ...] | None, strength: float = 400.0) -> Path:
    """Save a network with random weights, whose displacements are wrong but of some voxels."""
    network = learning.PyramidNetwork(len(grid), width=0.2, levels=2)
    with torch.no_grad():
        for layer in network.increment:
            layer.weight.mul_(strength)
    network.seen = learning.SeenImages(grid, spacing)
    learning.save_network(network, folder)
    return folder


@dataclass(frozen=True)
class Case:
    """Two images that lie differently in space, with labels, points and a network."""

    folder: Path
    d: int
    geometry: Geometry
    moving_geometry: Geometry

    @property
    def files(self) -> tuple[Path, Path]:
        return self.folder / "fixed.nii.gz", self.folder / "moving.nii.gz"

    def register(self, *arguments: str | Path) -> str:
        return succeeds("register", *self.files, "--network", self.folder / "net", *FAST, *arguments)

    def expected(self, **options: Any) -> npt.NDArray[np.float32]:
        """Return what the library finds."""
        images = [read_image(file)[0] for file in self.files]
        placed = {"geometry": read_image(self.files[0])[1], "moving_geometry": read_image(self.files[1])[1]}
        return learning.register(learning.load_network(self.folder / "net"), *images, **placed, **options)


@pytest.fixture(scope="module", params=[2, 3])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    d = request.param
    folder = tmp_path_factory.mktemp(f"register{d}d")
    grid, other = ((40, 48), (52, 36)) if d == 2 else ((17, 24, 20), (14, 21, 26))
    geometry = Geometry([2.0, 2.5, 2.2][-d:], [10.0, -5.0, 3.0][:d], TURN[d])
    # The moving image lies about where the fixed one does, with other voxels and another direction.
    spacing = np.array([2.4, 2.2, 1.9][-d:])
    centre = geometry.to_space([(np.array(grid) - 1) / 2])[0]
    direction = np.array(TURN[d]) @ np.array(FLIP[d])
    corner = Geometry(spacing, np.zeros(d), direction).to_space([(np.array(other) - 1) / 2])[0]
    moving_geometry = Geometry(spacing, centre + 1.5 - corner, direction)
    write_image(folder / "fixed.nii.gz", blobs(grid, 1), geometry=geometry)
    write_image(folder / "moving.nii.gz", blobs(other, 2), geometry=moving_geometry)
    for name, size, placed, seed in (("fixed", grid, geometry, 3), ("moving", other, moving_geometry, 4)):
        labels = np.digitize(blobs(size, seed), [45, 65]).astype(np.uint16) * 300
        write_image(folder / f"{name}_seg.nii.gz", labels, geometry=placed)
    points = np.random.Generator(np.random.Philox(5)).uniform(0, np.array(grid) - 1, (7, d))
    write_landmarks(folder / "points.csv", points, names=[f"p{i}" for i in range(7)])
    write_landmarks(folder / "points.mrk.json", points, geometry=geometry)
    a_network(folder / "net", (32, 32) if d == 2 else (16, 16, 16), (2.5,) * d)
    return Case(folder, d, geometry, moving_geometry)


class TestSpace:
    """What is written is right in space, for other programs."""

    @pytest.mark.parametrize("ending", [".mha", ".nii.gz", ".nrrd"])
    def test_itk_finds_the_same(self, case: Case, tmp_path: Path, ending: str) -> None:
        text = case.register(
            *("-o", tmp_path / f"u{ending}", "--warped", tmp_path / f"w{ending}"),
            *("--labels", case.folder / "moving_seg.nii.gz"),
        )
        assert "mm on average" in text
        assert "the labels, moved along" in text
        field = read_field(tmp_path / f"u{ending}", moving=case.moving_geometry)[0]
        np.testing.assert_allclose(field, case.expected(), atol=2e-3)
        vectors = sitk.Cast(sitk.ReadImage(str(tmp_path / f"u{ending}")), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(vectors)
        fixed, moving, labels = (sitk.ReadImage(str(each)) for each in (*case.files, case.folder / "moving_seg.nii.gz"))
        pulled = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1000.0))
        warped, placed = read_image(tmp_path / f"w{ending}")
        inside = pulled > -999
        assert inside.mean() > 0.5
        np.testing.assert_allclose(pulled[inside], warped[inside], atol=0.01)
        assert placed is not None
        np.testing.assert_allclose(placed.origin, case.geometry.origin, atol=1e-4)
        np.testing.assert_allclose(placed.direction, case.geometry.direction, atol=1e-5)
        nearest = sitk.GetArrayFromImage(sitk.Resample(labels, fixed, transform, sitk.sitkNearestNeighbor, 0))
        found, placed = read_labels(tmp_path / f"u_labels{ending}")
        assert found.dtype == np.uint16
        assert placed is not None
        np.testing.assert_allclose(placed.origin, case.geometry.origin, atol=1e-4)
        # ITK's images end half a voxel beyond the outermost centres, and halfway between two voxels rounding decides.
        targets = np.indices(found.shape) + field
        last = np.array(read_image(case.files[1])[0].shape).reshape(-1, *(1,) * case.d) - 1
        within = ((targets >= 0) & (targets <= last)).all(axis=0)
        assert within.mean() > 0.5
        assert (nearest == found)[within].mean() > 0.999
        assert (found[((targets < -0.01) | (targets > last + 0.01)).any(axis=0)] == 0).all()

    def test_points_land_where_itk_takes_them(self, case: Case, tmp_path: Path) -> None:
        case.register("-o", tmp_path / "u.mha", "--points", case.folder / "points.mrk.json")
        vectors = sitk.Cast(sitk.ReadImage(str(tmp_path / "u.mha")), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(vectors)
        space = Geometry(np.ones(3))
        before, after = (
            space.to_space(read_landmarks(file, geometry=space))
            for file in (case.folder / "points.mrk.json", tmp_path / "u_points.mrk.json")
        )
        for point, found in zip(before, after, strict=True):
            np.testing.assert_allclose(transform.TransformPoint(point[: case.d]), found[: case.d], atol=1e-3)

    def test_points_in_voxels_are_those_of_the_moving_image(self, case: Case, tmp_path: Path) -> None:
        text = case.register("-o", tmp_path / "u.npz", "--points", case.folder / "points.csv")
        assert f"{tmp_path / 'u_points.csv'}: the points in the moving image" in text
        found, names = read_named_landmarks(tmp_path / "u_points.csv")
        expected = warp_points(read_landmarks(case.folder / "points.csv"), case.expected())
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert names == tuple(f"p{i}" for i in range(7))

    def test_another_direction_is_no_fold_and_no_displacement(self, case: Case, tmp_path: Path) -> None:
        a_network(tmp_path / "still", (16,) * case.d, (3.0,) * case.d, strength=0.0)
        text = succeeds(
            *("register", *case.files, "--network", tmp_path / "still", "-o", tmp_path / "u.mha", *FAST),
        )
        assert "displacement 0.00 mm on average, 0.00 mm at most, 0 % folded" in text
        np.testing.assert_allclose(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "u.mha"))), 0, atol=1e-4)
        # In voxels, the moving image's own, it is a reflection.
        assert np.abs(read_field(tmp_path / "u.mha", moving=case.moving_geometry)[0]).max() > 3

    def test_displacement_is_told_in_mm(self, case: Case, tmp_path: Path) -> None:
        text = case.register("-o", tmp_path / "u.mha")
        lengths = np.linalg.norm(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "u.mha"))), axis=-1)
        assert lengths.mean() > 0.5
        assert f"displacement {lengths.mean():.2f} mm on average, {lengths.max():.2f} mm at most" in text

    def test_nothing_in_common(self, case: Case, tmp_path: Path) -> None:
        away = Geometry(case.moving_geometry.spacing, case.moving_geometry.origin + 500, case.moving_geometry.direction)
        write_image(tmp_path / "away.nii.gz", read_image(case.files[1])[0], geometry=away)
        common = ("register", case.files[0], tmp_path / "away.nii.gz", "--network", case.folder / "net", *FAST)
        assert "does not overlap" in fails(*common, "-o", tmp_path / "u.mha")
        assert not list(tmp_path.glob("u*"))
        text = succeeds(*common, "-o", tmp_path / "u.mha", "--affine", "--transform", "translation")
        assert "mm on average" in text


class TestOptions:
    """Options mean what they mean in the library."""

    def test_network_options(self, case: Case, tmp_path: Path) -> None:
        shape = (24, 32) if case.d == 2 else (12, 16, 20)
        case.register(
            *("-o", tmp_path / "u.npz", "--passes", "2", "--symmetric", "--grid", "x".join(map(str, shape))),
        )
        expected = case.expected(passes=2, symmetric=True, grid=shape)
        np.testing.assert_allclose(read_field(tmp_path / "u.npz")[0], expected, atol=1e-4)
        assert np.abs(expected - case.expected()).max() > 0.1

    @pytest.mark.parametrize("kind", [None, "rigid"])
    def test_affine_first(self, case: Case, tmp_path: Path, kind: str | None) -> None:
        weights = np.zeros(read_image(case.files[0])[0].shape, np.float32)
        weights[(slice(4, -4),) * case.d] = 1
        write_image(tmp_path / "mask.nii.gz", weights, geometry=case.geometry)
        chosen = () if kind is None else ("--transform", kind)
        case.register("-o", tmp_path / "u.npz", "--affine", *chosen, "--mask", tmp_path / "mask.nii.gz")
        images = [read_image(file) for file in case.files]
        placed = {"geometry": images[0][1], "moving_geometry": images[1][1]}
        initial = register_affine(
            images[0][0], images[1][0], transform=kind or "affine", mask=weights, threads=1, **placed
        )
        found = read_field(tmp_path / "u.npz")[0]
        np.testing.assert_allclose(found, case.expected(initial=initial), atol=1e-3)
        assert np.abs(found - case.expected()).max() > 0.1

    def test_refined(self, case: Case, tmp_path: Path) -> None:
        weights = np.zeros(read_image(case.files[0])[0].shape, np.float32)
        weights[(slice(3, -3),) * case.d] = 1
        write_image(tmp_path / "mask.nii.gz", weights, geometry=case.geometry)
        case.register("-o", tmp_path / "u.npz", "--refine", "--mask", tmp_path / "mask.nii.gz")
        found = read_field(tmp_path / "u.npz")[0]
        np.testing.assert_allclose(found, case.expected(refine=True, mask=weights), atol=1e-3)
        assert np.abs(found - case.expected()).max() > 0.1

    @pytest.mark.parametrize("ending", [".png", ".pdf"])
    def test_figure(self, case: Case, tmp_path: Path, ending: str) -> None:
        pytest.importorskip("matplotlib")
        text = case.register("-o", tmp_path / "u.npz", "--figure", tmp_path / f"f{ending}")
        assert "before and after" in text
        assert (tmp_path / f"f{ending}").read_bytes()[:4] in (b"\x89PNG", b"%PDF")


class TestLabels:
    def test_scores_before_and_after(self, case: Case, tmp_path: Path) -> None:
        text = case.register(
            *("-o", tmp_path / "u.npz", "--labels", case.folder / "moving_seg.nii.gz"),
            *("--fixed-labels", case.folder / "fixed_seg.nii.gz"),
        )
        fixed, moving = (read_labels(case.folder / f"{name}_seg.nii.gz")[0] for name in ("fixed", "moving"))
        # Displacements of an image that does not move are where its voxels lie in the other one.
        points = np.indices(fixed.shape).reshape(case.d, -1).T
        still = case.moving_geometry.to_voxels(case.geometry.to_space(points)) - points
        fields = still.T.reshape(case.d, *fixed.shape), case.expected()
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
        assert [line[0] for line in lines] == ["300", "600", "mean"]
        for k, field in enumerate(fields):
            pulled = warp(moving, field, order=0, border="constant")
            overlap = dice(fixed, pulled, [300, 600])
            distance = hausdorff_distance(fixed, pulled, [300, 600], case.geometry.spacing)
            for column, values, error in ((1 + k, overlap, 0.004), (3 + k, distance, 0.3)):
                shown = [float(line[column]) for line in lines]
                np.testing.assert_allclose(shown, [*values, values.mean()], atol=error)
        assert "HD95 before (mm)" in text

    def test_structures_that_one_image_lacks(self, tmp_path: Path) -> None:
        net = a_network(tmp_path / "net", (24, 24), None, strength=0.0)
        for i, name in enumerate(("fixed", "moving")):
            np.save(tmp_path / f"{name}.npy", blobs((24, 24), i))
        maps = np.zeros((2, 24, 24), np.int64)
        maps[:, 2:9, 2:9] = 1
        maps[0, 12:20, 3:8] = 2  # the fixed image alone
        maps[1, 12:20, 14:20] = -7  # the moving image alone
        np.save(tmp_path / "fixed_seg.npy", maps[0])
        np.save(tmp_path / "moving_seg.npy", maps[1])
        common = ("register", tmp_path / "fixed.npy", tmp_path / "moving.npy", "--network", net, *FAST)
        files = ("--labels", tmp_path / "moving_seg.npy", "--fixed-labels", tmp_path / "fixed_seg.npy")
        text = succeeds(*common, "-o", tmp_path / "u.npz", *files)
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
        assert rows == [
            ["-7", "0.000", "0.000", "-", "-"],
            ["1", "1.000", "1.000", "0.00", "0.00"],
            ["2", "0.000", "0.000", "-", "-"],
            ["mean", "0.333", "0.333", "0.00", "0.00"],
        ]
        assert "HD95 before (px)" in text
        np.testing.assert_array_equal(np.load(tmp_path / "u_labels.npy"), maps[1])
        np.save(tmp_path / "fixed_seg.npy", np.zeros_like(maps[0]))
        np.save(tmp_path / "moving_seg.npy", np.zeros_like(maps[0]))
        assert "nothing but 0" in fails(*common, "-o", tmp_path / "v.npz", *files)

    def test_pictures(self, tmp_path: Path) -> None:
        pytest.importorskip("PIL")
        net = a_network(tmp_path / "net", (24, 24), None)
        for i, name in enumerate(("fixed", "moving")):
            write_image(tmp_path / f"{name}.png", blobs((30, 28), i), window=(0, 100))
        labels = np.digitize(blobs((30, 28), 7), [40, 60]).astype(np.uint8)
        write_image(tmp_path / "seg.png", labels)
        common = ("register", tmp_path / "fixed.png", tmp_path / "moving.png", "--network", net, *FAST)
        text = succeeds(*common, "-o", tmp_path / "u.flo", "--labels", tmp_path / "seg.png")
        assert "px on average" in text
        found = read_labels(tmp_path / "u_labels.png")[0]
        expected = warp(labels, read_field(tmp_path / "u.flo")[0], order=0, border="constant")
        np.testing.assert_array_equal(found, expected)
        assert (found != labels).any()
        np.save(tmp_path / "many.npy", labels.astype(np.int32) * 1000)
        succeeds(*common, "-o", tmp_path / "u.npz", "--labels", tmp_path / "many.npy")
        moved = np.load(tmp_path / "u_labels.npy")
        assert moved.dtype == np.int32
        np.testing.assert_array_equal(moved, expected * np.int32(1000))


class TestSinglePlanes:
    """Volumes of one plane with a network for planes."""

    @pytest.fixture
    def slices(self, tmp_path: Path) -> Path:
        """Return a folder with two oblique slices of one stack, cut out at different places."""
        turn = np.array(TURN[3])
        stack = blobs((40, 44), 1)
        for name, (row, column) in {"fixed": (0, 0), "moving": (5, 3)}.items():
            corner = turn @ np.array([3.0 * column, 2.0 * row, 8.0 * (name == "moving")])
            placed = Geometry([8.0, 2.0, 3.0], np.array([5.0, 6.0, 7.0]) + corner, turn)
            part = stack[row : row + 34, column : column + 38]
            write_image(tmp_path / f"{name}.nii.gz", part[None], geometry=placed)
            write_image(tmp_path / f"{name}_seg.nii.gz", (part > 55).astype(np.uint8)[None], geometry=placed)
        return tmp_path

    def test_parallel_planes_lie_where_they_are_in_space(self, slices: Path) -> None:
        net = a_network(slices / "still", (34, 38), None, strength=0.0)
        common = ("register", slices / "fixed.nii.gz", slices / "moving.nii.gz", "--network", net, *FAST)
        text = succeeds(
            *(*common, "-o", slices / "u.mha", "--warped", slices / "w.mha"),
            *("--labels", slices / "moving_seg.nii.gz", "--fixed-labels", slices / "fixed_seg.nii.gz"),
        )
        assert "displacement 0.00 mm on average" in text
        fixed, moving, warped = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(slices / name)))
            for name in ("fixed.nii.gz", "moving.nii.gz", "w.mha")
        )
        np.testing.assert_allclose(warped[0, 5:, 3:], fixed[0, 5:, 3:], atol=1e-3)
        np.testing.assert_allclose(warped[0, 5:, 3:], moving[0, :-5, :-3], atol=1e-3)
        # Through the planes, which are 8 mm apart, a field in space leads from one to the other.
        vectors = sitk.GetArrayFromImage(sitk.ReadImage(str(slices / "u.mha")))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 8, atol=1e-3)
        found, placed = read_labels(slices / "u_labels.mha")
        assert found.shape == (1, 34, 38)
        assert placed is not None
        np.testing.assert_array_equal(found[0, 5:, 3:], (fixed[0, 5:, 3:] > 55).astype(np.uint8))
        assert (found[0, :5] == 0).all()
        assert (found[0, :, :3] == 0).all()

    def test_planes_that_are_not_parallel_are_laid_on_each_other(self, slices: Path) -> None:
        image = read_image(slices / "moving.nii.gz")[0]
        write_image(slices / "moving.nii.gz", image, geometry=Geometry([8.0, 2.0, 3.0], [400.0, 0.0, 0.0]))
        net = a_network(slices / "still", (34, 38), None, strength=0.0)
        text = succeeds(
            *("register", slices / "fixed.nii.gz", slices / "moving.nii.gz", "--network", net, *FAST),
            *("-o", slices / "u.mha", "--warped", slices / "w.mha"),
        )
        assert "displacement 0.00 mm on average" in text
        np.testing.assert_allclose(read_image(slices / "w.mha")[0], image, atol=1e-3)
        found = sitk.DisplacementFieldTransform(
            sitk.Cast(sitk.ReadImage(str(slices / "u.mha")), sitk.sitkVectorFloat64)
        )
        fixed, moving = (sitk.ReadImage(str(slices / f"{name}.nii.gz")) for name in ("fixed", "moving"))
        pulled = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, found, sitk.sitkLinear, -1000.0))
        inside = pulled > -999
        assert inside.mean() > 0.8
        np.testing.assert_allclose(pulled[inside], image[inside], atol=0.01)

    def test_points_of_two_or_three_coordinates(self, slices: Path) -> None:
        net = a_network(slices / "net", (34, 38), None)
        flat = np.array([[3.0, 4.0], [20.5, 30.0]])
        write_landmarks(slices / "flat.csv", flat)
        write_landmarks(slices / "whole.csv", np.column_stack([np.zeros(2), flat]))
        write_landmarks(slices / "off.csv", np.column_stack([np.full(2, 3.0), flat]))
        placed = read_image(slices / "fixed.nii.gz")[1]
        write_landmarks(slices / "space.mrk.json", np.column_stack([np.zeros(2), flat]), geometry=placed)
        common = ("register", slices / "fixed.nii.gz", slices / "moving.nii.gz", "--network", net, *FAST)
        found = {}
        for name in ("flat.csv", "whole.csv", "space.mrk.json"):
            succeeds(*common, "-o", slices / "u.npz", "--points", slices / name)
            ending = name.partition(".")[2]
            geometry = read_image(slices / "moving.nii.gz")[1]
            found[name] = read_landmarks(slices / f"u_points.{ending}", geometry=geometry)
        expected = warp_points(flat, read_field(slices / "u.npz")[0])
        np.testing.assert_allclose(found["flat.csv"], expected, atol=1e-4)
        for name in ("whole.csv", "space.mrk.json"):
            np.testing.assert_allclose(found[name], np.column_stack([np.zeros(2), expected]), atol=1e-3)
        assert "3 planes away" in fails(*common, "-o", slices / "v.npz", "--points", slices / "off.csv")

    def test_a_network_for_volumes_takes_them_as_volumes(self, slices: Path) -> None:
        net = a_network(slices / "net", (8, 16, 16), None, strength=0.0)
        write_image(slices / "deep.nii.gz", blobs((6, 20, 20), 1), geometry=Geometry([8.0, 2.0, 3.0]))
        assert "takes a plane" in fails(
            *("register", slices / "deep.nii.gz", slices / "fixed.nii.gz", "-o", slices / "u.npz", *FAST),
            *("--network", a_network(slices / "flat", (16, 16), None)),
        )
        succeeds(
            *("register", slices / "fixed.nii.gz", slices / "fixed.nii.gz", "-o", slices / "u.npz", *FAST),
            *("--network", net),
        )
        assert read_field(slices / "u.npz")[0].shape == (3, 1, 34, 38)


class TestRefused:
    """What does not fit ends with one line, before anything is written."""

    BAD: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("--transform is 'rigid' without --affine", ("--transform", "rigid")),
        ("--transform is 'elastic'; pass one of", ("--affine", "--transform", "elastic")),
        ("--grid is '12'", ("--grid", "12")),
        ("--grid is '0x12'", ("--grid", "0x12")),
        ("images have shape (8, 8, 8)", ("--grid", "8x8x8")),
        ("takes 2 axes; pass 2 lengths, such as 96x96", ("--grid", "8x8x8")),
        ("--device is 'tpu'; pass cpu, cuda or cuda:N", ("--device", "tpu")),
        ("--device is 'cuda:999'", ("--device", "cuda:999")),
        ("mask has no use", ("--mask", "MASK")),
        ("has nothing to be compared with", ("--fixed-labels", "LABELS")),
        ("--format is '.mha' without --pairs", ("--format", ".mha")),
        ("holds no labels", ("--labels", "fixed.npy")),
        ("has shape (8, 8) but", ("--labels", "SMALL")),
        ("values from 0 to 3", ("--affine", "--mask", "LABELS")),
        ("is in mm, but", ("--points", "p.mrk.json")),
        ("has 3 coordinates per point", ("--points", "p3.csv")),
        ("no known format of points", ("--points", "p.txt")),
        ("moving.npy is to hold a result but is an image", ("--warped", "moving.npy")),
        (
            "OUT_labels.npy is to hold a result but is to hold another",
            ("--labels", "LABELS", "--warped", "OUT_labels.npy"),
        ),
        ("w.tif is to hold the result", ("--warped", "w.tif")),
        ("f.txt is to hold the result", ("--figure", "f.txt")),
        ("--pairs", ("--pairs", "pairs.csv")),
    )

    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        for i, name in enumerate(("fixed", "moving")):
            np.save(f"{name}.npy", blobs((24, 26), i))
        np.save("LABELS.npy", np.arange(24 * 26).reshape(24, 26) % 4)
        np.save("SMALL.npy", np.ones((8, 8), int))
        np.save("MASK.npy", np.ones((24, 26), np.float32))
        write_landmarks("p3.csv", np.ones((2, 3)))
        write_landmarks("p.mrk.json", np.ones((2, 3)), geometry=Geometry(np.ones(3)))
        a_network(tmp_path / "net", (16, 16), None)
        return tmp_path

    @pytest.mark.parametrize(("message", "arguments"), BAD, ids=[message for message, _ in BAD])
    def test_options(self, here: Path, message: str, arguments: tuple[str, ...]) -> None:
        named = [f"{each}.npy" if each.isupper() else each for each in arguments]
        before = sorted(here.iterdir())
        device = () if "--device" in named else FAST
        line = fails("register", "fixed.npy", "moving.npy", "--network", "net", "-o", "OUT.npz", *device, *named)
        assert message in line or (message == "--pairs" and "leave it out" in line)
        assert sorted(here.iterdir()) == before

    def test_one_image_or_none(self, here: Path) -> None:
        for images in ((), ("fixed.npy",)):
            assert "FIXED and MOVING" in fails("register", *images, "--network", "net", "-o", "u.npz", *FAST)

    def test_images(self, here: Path) -> None:
        common = ("register", "--network", "net", *FAST, "-o", "u.npz", "fixed.npy")
        np.save("colour.npy", np.stack([blobs((24, 26), i) for i in range(3)]))
        write_image("small.nii.gz", blobs((8, 9), 1), geometry=Geometry([1.0, 1.0]))
        assert "colour.npy has 3 channels but the network takes 1" in fails(*common, "colour.npy")
        assert "small.nii.gz has shape (8, 9)" in fails(*common, "small.nii.gz")
        assert "constant" in fails(*common, "MASK.npy")

    def test_labels_and_masks_that_lie_elsewhere(self, case: Case, tmp_path: Path) -> None:
        labels = read_labels(case.folder / "moving_seg.nii.gz")[0]
        moved = Geometry(case.moving_geometry.spacing, case.moving_geometry.origin + 3, case.moving_geometry.direction)
        write_image(tmp_path / "seg.nii.gz", labels, geometry=moved)
        common = ("register", *case.files, "--network", case.folder / "net", *FAST, "-o", tmp_path / "u.npz")
        assert "voxels from where" in fails(*common, "--labels", tmp_path / "seg.nii.gz")
        mask = np.ones(read_image(case.files[0])[0].shape, np.float32)
        write_image(tmp_path / "mask.nii.gz", mask, geometry=moved)
        assert "voxels from where" in fails(*common, "--refine", "--mask", tmp_path / "mask.nii.gz")
        assert not (tmp_path / "u.npz").exists()

    def test_flo_of_volumes(self, case: Case, tmp_path: Path) -> None:
        if case.d == 2:
            case.register("-o", tmp_path / "u.flo")
            return
        line = fails("register", *case.files, "--network", case.folder / "net", *FAST, "-o", tmp_path / "u.flo")
        assert "of a volume" in line

    def test_labels_that_a_picture_cannot_hold(self, here: Path) -> None:
        pytest.importorskip("PIL")
        from PIL import Image

        Image.fromarray((np.arange(24 * 26, dtype=np.uint16) % 500).reshape(24, 26)).save("deep.png")
        line = fails(
            *("register", "fixed.npy", "moving.npy", "--network", "net", *FAST, "-o", "u.npz", "--labels", "deep.png"),
        )
        assert "cannot hold the labels from 0 to 499" in line
