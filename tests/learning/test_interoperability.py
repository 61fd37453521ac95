"""Pairs in MONAI's and TorchIO's containers: what these libraries make of them is what modelaug says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("safetensors")

import torch

from modelaug import Pair, PairOptions, PairSynthesizer, warp
from modelaug.io import Geometry
from modelaug.learning import pair_dictionary, pair_from_subject, torchio_subject
from tests.examples import one_line, plane_model, volume_model

# In the plane with two channels and 44 x 26 pixels, in space with 16 x 22 x 18 voxels; both with labels.
SOURCES = {
    name: PairSynthesizer(model(), seed=2, options=PairOptions(texture="shared"))
    for name, model in {"plane": plane_model, "volume": volume_model}.items()
}
FORMS = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def same_arrays(a: Pair, b: Pair) -> None:
    for name in Pair.__dataclass_fields__:
        if name != "info":
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


class TestDictionary:
    @FORMS
    def test_holds_the_pair(self, source: PairSynthesizer) -> None:
        pair = source.draw(1)
        found = pair_dictionary(pair)
        grid = pair.weight.shape
        assert {key: tuple(value.shape) for key, value in found.items()} == {
            "fixed_image": pair.fixed.shape,
            "moving_image": pair.fixed.shape,
            "ddf": (len(grid), *grid),
            "weight": (1, *grid),
            "fixed_label": (1, *grid),
            "moving_label": (1, *grid),
            "fixed_landmarks": pair.landmarks_fixed.shape,
            "moving_landmarks": pair.landmarks_fixed.shape,
        }
        assert found["fixed_label"].dtype == torch.int64
        np.testing.assert_array_equal(found["moving_image"], pair.moving)
        np.testing.assert_array_equal(found["moving_label"][0], pair.labels_moving)
        np.testing.assert_array_equal(found["moving_landmarks"], pair.landmarks_moving)
        found["moving_image"] += 1  # in place, as some transforms do
        np.testing.assert_array_equal(pair.moving, source.draw(1).moving)

    def test_without_labels(self) -> None:
        pair = replace(SOURCES["plane"].draw(0), labels_fixed=None, labels_moving=None)
        assert not {"fixed_label", "moving_label"} & set(pair_dictionary(pair))

    @FORMS
    @pytest.mark.filterwarnings("ignore:.*Using PyTorch native grid_sample")
    def test_monai_warps_by_the_flow(self, source: PairSynthesizer) -> None:
        blocks = pytest.importorskip("monai.networks.blocks")
        pair = source.draw(1)
        found = pair_dictionary(pair)
        warped = blocks.Warp()(found["moving_image"][None], found["ddf"][None])[0].numpy()
        # grid_sample computes positions between -1 and 1 in single precision.
        np.testing.assert_allclose(warped, warp(pair.moving, pair.flow), atol=2e-2)
        inside = pair.weight > 0.5
        before = np.abs(pair.moving - pair.fixed)[:, inside].mean()
        assert np.abs(warped - pair.fixed)[:, inside].mean() < 0.5 * before

    def test_monai_transforms_and_datasets(self) -> None:
        transforms, data = pytest.importorskip("monai.transforms"), pytest.importorskip("monai.data")
        source = SOURCES["plane"]
        images = ["fixed_image", "moving_image"]
        drawn: list[int] = []

        def draw(index: int) -> Any:
            drawn.append(index)
            return pair_dictionary(source.draw(index))

        steps = [
            transforms.Lambda(draw),
            transforms.ScaleIntensityd(keys=images),
            transforms.RandGaussianNoised(keys=images, prob=1.0, std=0.1, sample_std=False).set_random_state(seed=3),
            transforms.ToDeviced(keys=[*images, "ddf"], device="cpu"),
        ]
        cached = data.CacheDataset(range(3), transforms.Compose(steps), num_workers=0, progress=False)
        loader = data.DataLoader(cached, batch_size=3, num_workers=0)
        (batch,) = loader
        assert batch["fixed_image"].shape == (3, 2, 44, 26)
        np.testing.assert_array_equal(batch["ddf"], source.batch(range(3)).flow)
        clean = transforms.ScaleIntensityd(keys=images)(pair_dictionary(source.draw(2)))
        noise = batch["moving_image"][2] - clean["moving_image"]
        assert 0.08 < float(noise.std()) < 0.12
        (another,) = loader
        assert not torch.equal(another["fixed_image"], batch["fixed_image"])
        assert drawn == [0, 1, 2]


class TestSubject:
    @FORMS
    def test_its_flow_pulls_its_images(self, source: PairSynthesizer) -> None:
        pytest.importorskip("torchio")
        pair = source.draw(1)
        subject = torchio_subject(pair)
        moving, flow = subject["moving_image"].data.numpy(), subject["ddf"].numpy()
        d = len(flow)
        assert moving.shape[1:] == (*pair.weight.shape[::-1], 1, 1)[:3] == subject.spatial_shape
        # In TorchIO's own axes, by scipy.
        places = np.indices(moving.shape[1:], dtype=np.float64)
        places[:d] += flow
        warped = np.stack([ndimage.map_coordinates(channel, places, order=1, mode="nearest") for channel in moving])
        back = warped.squeeze(axis=tuple(range(d + 1, 4))).transpose(0, *range(d, 0, -1))
        np.testing.assert_allclose(back, warp(pair.moving, pair.flow), atol=2e-2)

    @FORMS
    def test_landmarks_lie_on_its_labels(self, source: PairSynthesizer) -> None:
        pytest.importorskip("torchio")
        pair = source.draw(1)
        subject = torchio_subject(pair)
        for side in ("fixed", "moving"):
            inside = np.round(subject[f"{side}_landmarks"].numpy().mean(axis=0)).astype(int)
            assert subject[f"{side}_label"].data[(0, *inside, *[0] * (3 - len(inside)))] == 1

    @FORMS
    def test_and_back(self, source: PairSynthesizer) -> None:
        pytest.importorskip("torchio")
        pair = source.draw(4)
        same_arrays(pair_from_subject(torchio_subject(pair)), pair)
        bare = replace(pair, labels_fixed=None, labels_moving=None)
        assert pair_from_subject(torchio_subject(bare)).labels_fixed is None

    @pytest.mark.parametrize("d", [2, 3])
    def test_lies_where_the_geometry_says(self, d: int) -> None:
        pytest.importorskip("torchio")
        source = SOURCES["plane" if d == 2 else "volume"]
        turned = np.eye(d)[:, ::-1] * ([1.0, -1.0] if d == 2 else [1.0, 1.0, -1.0])
        geometry = Geometry([2.0, 3.0, 5.0][:d], origin=[10.0, 20.0, 30.0][:d], direction=turned)
        subject = torchio_subject(source.draw(0), geometry=geometry)
        voxel = np.array([3, 4, 5][:d])  # column first
        lps = geometry.origin + geometry.direction @ (geometry.spacing[::-1] * voxel)
        ras = subject["fixed_image"].affine @ [*voxel, *[0] * (3 - d), 1]
        np.testing.assert_allclose(ras[:d], lps * [-1, -1, 1][:d])
        assert subject.spacing == pytest.approx((*geometry.spacing[::-1], 1.0)[:3])
        np.testing.assert_array_equal(np.diag(torchio_subject(source.draw(0)).fixed_image.affine), [-1, -1, 1, 1])

    def test_transforms_of_intensities_touch_images_only(self) -> None:
        torchio = pytest.importorskip("torchio")
        pair = SOURCES["plane"].draw(0)
        changed = torchio.RescaleIntensity((0, 1))(torchio_subject(pair))
        back = pair_from_subject(changed)
        assert float(back.fixed.max()) == 1.0
        same_arrays(replace(back, fixed=pair.fixed, moving=pair.moving), pair)

    def test_moved_subjects_are_refused(self) -> None:
        torchio = pytest.importorskip("torchio")
        subject = torchio_subject(SOURCES["plane"].draw(0))
        with pytest.raises(ValueError, match="moved by Flip, which leaves the flow behind") as caught:
            pair_from_subject(torchio.Flip(axes=0)(subject))
        one_line(caught.value)
        del subject["ddf"]
        with pytest.raises(ValueError, match="subject has no ddf"):
            pair_from_subject(subject)

    def test_loads_in_batches(self) -> None:
        torchio = pytest.importorskip("torchio")
        subjects = [torchio_subject(SOURCES["plane"].draw(i)) for i in range(2)]
        (batch,) = torchio.SubjectsLoader(torchio.SubjectsDataset(subjects), batch_size=2)
        assert batch["moving_image"]["data"].shape == (2, 2, 26, 44, 1)
        assert batch["ddf"].shape == (2, 2, 26, 44, 1)


@pytest.mark.parametrize("convert", [pair_dictionary, torchio_subject])
def test_bad_input(convert: Any) -> None:
    if convert is torchio_subject:
        pytest.importorskip("torchio")
        with pytest.raises(ValueError, match="geometry has 3 axes, the pair 2"):
            convert(SOURCES["plane"].draw(0), geometry=Geometry(np.ones(3)))
        with pytest.raises(TypeError, match=r"geometry is \[1.0, 1.0\]; pass"):
            convert(SOURCES["plane"].draw(0), geometry=[1.0, 1.0])
    with pytest.raises(ValueError, match="a batch; pass its pairs one by one"):
        convert(SOURCES["plane"].batch([0, 1]))
    with pytest.raises(TypeError, match="pair is a dict; pass a Pair"):
        convert({})


def test_labels_that_torchio_does_not_hold_are_refused() -> None:
    pytest.importorskip("torchio")
    pair = SOURCES["plane"].draw(0)
    assert pair.labels_fixed is not None
    wide = replace(pair, labels_fixed=pair.labels_fixed.astype(np.int64) + 2**31)
    with pytest.raises(ValueError, match=r"labels_fixed holds numbers from .*; renumber them within -2147483648"):
        torchio_subject(wide)
    assert int(pair_dictionary(wide)["fixed_label"].max()) == int(wide.labels_fixed.max())
