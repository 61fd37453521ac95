"""Training: it learns, an interrupted run ends like any other, and nothing is left lying about."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelaug
from modelaug import ModelFileError
from modelaug.synthesis import Pair, stack_pairs

pytest.importorskip("torch")

import torch

from modelaug.learning import (
    FlowNetS,
    PyramidNetwork,
    TrainOptions,
    end_point_error,
    estimate_flow,
    load_network,
    read_card,
    train,
)
from modelaug.synthesis.pairs import HELD_OUT
from tests.learning.runs import ONE, SHORT, WIDTH, Untouchable, check_same, first_loss, rows, run
from tests.learning.toys import Batched, Hostile, Interrupted, Translations


def test_it_learns(trained: Path) -> None:
    errors = [float(row["validation_epe"]) for row in rows(trained) if row["validation_epe"]]
    card = read_card(trained)
    assert len(errors) == 6
    assert card["metrics"]["validation_epe"] == min(errors)
    assert min(errors) < 0.8 * errors[0]
    assert min(errors) < 0.8 * card["metrics"]["validation_epe_of_zero_flow"]


def test_validation_is_the_error_of_the_kept_weights_on_held_out_pairs(trained: Path) -> None:
    card = read_card(trained)
    n = card["options"]["validation_pairs"]
    pair = stack_pairs([Translations().draw(i) for i in range(HELD_OUT - n, HELD_OUT)])
    fixed, moving, flow = map(torch.from_numpy, (pair.fixed, pair.moving, pair.flow))
    error = end_point_error(estimate_flow(load_network(trained), fixed, moving), flow)
    assert error.item() == pytest.approx(card["metrics"]["validation_epe"], rel=1e-4)
    zero = np.linalg.norm(pair.flow, axis=1).mean()
    assert card["metrics"]["validation_epe_of_zero_flow"] == pytest.approx(zero, rel=1e-5)


def test_what_a_run_leaves(whole: tuple[Path, FlowNetS]) -> None:
    folder, network = whole
    assert sorted(p.name for p in folder.iterdir()) == ["last.ckpt", "metrics.csv", "net.json", "net.safetensors"]
    lines = rows(folder)
    assert [int(row["step"]) for row in lines] == [3, 6, 9, 12, 15, 16]
    assert [bool(row["validation_epe"]) for row in lines] == [False, True, False, True, False, True]
    assert [float(row["learning_rate"]) for row in lines] == [1e-3, 1e-3, 2.5e-4, 1.25e-4, 1.25e-4, 1.25e-4]
    assert all(float(row[name]) > 0 for row in lines for name in ("loss", "epe", "seconds_per_step"))
    card = read_card(folder)
    assert card["finished"] is True
    assert card["options"] == SHORT.of(network).as_json()
    assert card["seconds_per_step"] > 0
    assert card["device"] in ("cpu", "mps") or torch.cuda.is_available()
    assert card["versions"]["torch"] == torch.__version__
    assert not network.training
    assert next(network.parameters()).device.type == "cpu"


def test_a_finished_run_returns_at_once(whole: tuple[Path, FlowNetS]) -> None:
    folder, _ = whole
    network = FlowNetS(width=WIDTH)
    path = train(Untouchable(), network=network, options=SHORT, out=folder)
    assert path == folder / "net.safetensors"
    assert torch.equal(network.conv1[0].weight, FlowNetS(width=WIDTH).conv1[0].weight)


@pytest.mark.parametrize("limit", [5, 13, 26])
def test_resuming_after_a_failure_is_exact(tmp_path: Path, whole: tuple[Path, FlowNetS], limit: int) -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run(Interrupted(limit, fail), tmp_path)
    assert (tmp_path / "last.ckpt").exists() == (limit > 8)  # before the first checkpoint it starts anew
    check_same(tmp_path, run(Translations(), tmp_path), whole)


def test_resuming_after_the_last_step_draws_nothing(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    for name in ("last.ckpt", "metrics.csv", "net.safetensors"):
        shutil.copy(whole[0] / name, tmp_path)
    check_same(tmp_path, run(Untouchable(), tmp_path), whole)
    assert read_card(tmp_path)["finished"] is True


def test_resuming_after_a_signal_is_exact(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    options = dataclasses.replace(SHORT, checkpoint_every=1000)
    with pytest.raises(SystemExit) as caught:
        run(Interrupted(15, lambda: os.kill(os.getpid(), signal.SIGTERM)), tmp_path, options)
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert int(rows(tmp_path)[-1]["step"]) <= 9  # it did not go on to the end
    assert (tmp_path / "last.ckpt").exists()
    check_same(tmp_path, run(Translations(), tmp_path, options), whole)


def test_an_interrupt_is_an_interrupt(tmp_path: Path) -> None:
    # In the background of a shell, interrupts are ignored, and Python then leaves them so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(Interrupted(9, lambda: os.kill(os.getpid(), signal.SIGINT)), tmp_path)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_quiet_and_tidy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    run(Translations(), tmp_path, progress=False)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("modelaug-pairs")]


def test_it_says_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="modelaug.learning"):
        run(Translations(), tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("training 0.0")
    assert [line.split(":")[0] for line in lines[1:]] == [f"step {k}/16" for k in (3, 6, 9, 12, 15, 16)]
    assert "validation EPE" in lines[-1]


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, logger="modelaug.learning"):
        run(Translations(), tmp_path)
    assert "16/16" in terminal.getvalue()
    assert "validation EPE" in terminal.getvalue()
    assert len(caplog.records) == 1  # what begins; the bar says the rest


def test_kept_weights(tmp_path: Path) -> None:
    options = TrainOptions(steps=4, batch_size=2, validation_pairs=2, keep="last")
    network = run(Translations(), tmp_path, options)
    kept = load_network(tmp_path)
    assert all(torch.equal(kept.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    assert read_card(tmp_path)["metrics"]["step"] == 4


def test_seed_initialises_and_none_does_not(tmp_path: Path) -> None:
    options = TrainOptions(steps=1, batch_size=1, validation_pairs=1, learning_rate=1e-12, weight_decay=0, seed=3)
    given = run(Translations(), tmp_path / "seeded", options)
    torch.testing.assert_close(given.conv3[0].weight, FlowNetS(width=WIDTH, seed=3).conv3[0].weight)
    kept = run(Translations(), tmp_path / "kept", dataclasses.replace(options, seed=None))
    torch.testing.assert_close(kept.conv3[0].weight, FlowNetS(width=WIDTH, seed=0).conv3[0].weight)


def test_the_loss_is_that_of_the_options(tmp_path: Path) -> None:
    source = Translations((50, 70))
    run(source, tmp_path, ONE)
    assert float(rows(tmp_path)[0]["loss"]) == pytest.approx(first_loss(source), rel=1e-5)


def test_mixed_precision(tmp_path: Path) -> None:
    run(Translations(), tmp_path, dataclasses.replace(ONE, precision="bf16-mixed", gradient_clip=1.0))
    loss, exact = float(rows(tmp_path)[0]["loss"]), first_loss(Translations())
    assert 0 < abs(loss - exact) < 0.02 * exact
    assert load_network(tmp_path).conv1[0].weight.dtype == torch.float32


def test_drawing_and_training_take_turns_with_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, seen = Batched(), []
    forward = FlowNetS.forward

    def spy(network: FlowNetS, images: torch.Tensor) -> Any:
        seen.append((images.device.type, torch.get_num_threads(), len(source.requests)))
        return forward(network, images)

    monkeypatch.setattr(FlowNetS, "forward", spy)
    train(source, network=FlowNetS(width=WIDTH), options=ONE, out=tmp_path, threads=3)
    assert source.requests == [((0, 1), 3), ((HELD_OUT - 1,), 3)]
    if seen[0][0] == "cpu":
        assert seen == [("cpu", 3, 1), ("cpu", 3, 2)]


def test_gradient_clip(tmp_path: Path) -> None:
    before = FlowNetS(width=WIDTH).conv4[0].weight
    free = run(Translations(), tmp_path / "free", ONE).conv4[0].weight
    # Adam does not see the gradient's scale, except where it is far below its epsilon of 1e-8.
    clipped = run(Translations(), tmp_path / "clipped", dataclasses.replace(ONE, gradient_clip=1e-12)).conv4[0].weight
    assert (free - before).abs().max().item() == pytest.approx(ONE.learning_rate, rel=0.01)
    assert (clipped - before).abs().max().item() < 0.01 * ONE.learning_rate


def test_decay_of_weights_not_of_biases(tmp_path: Path) -> None:
    network = FlowNetS(width=WIDTH)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(parameter)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    options = dataclasses.replace(ONE, weight_decay=1e12)
    train(Translations(), network=network, options=options, out=tmp_path, threads=1)
    for name, parameter in network.named_parameters():
        shrunk = (parameter.detach() - before[name]) * before[name].sign() < 0
        assert shrunk.all() or name.endswith("bias"), name
    grown = [name for name, parameter in network.named_parameters() if (parameter > 1).any() and name.endswith("bias")]
    assert grown


def test_the_best_weights_survive_a_resumption(tmp_path: Path) -> None:
    worsening = dataclasses.replace(SHORT, learning_rate=0.1, halvings=(), validate_every=2)

    def fail() -> None:
        raise OSError("the disk is gone")

    whole = tmp_path / "whole", run(Translations(), tmp_path / "whole", worsening)
    assert read_card(whole[0])["metrics"]["step"] <= 8
    with pytest.raises(OSError, match="the disk is gone"):
        run(Interrupted(26, fail), tmp_path / "parts", worsening)
    check_same(tmp_path / "parts", run(Translations(), tmp_path / "parts", worsening), whole)


def test_another_run_is_not_mixed_in(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    longer = dataclasses.replace(SHORT, steps=20)
    message = r"holds a run with steps 16, not 20; pass another folder, or resume=False \(--restart\) to overwrite it"
    with pytest.raises(ValueError, match=message):
        run(Untouchable(), folder, longer)
    (folder / "net.json").unlink()  # so that only the checkpoint tells
    with pytest.raises(ValueError, match=message):
        run(Untouchable(), folder, longer)
    with pytest.raises(ValueError, match=r"holds a run with width 0.03, not 0.05"):
        train(Untouchable(), network=FlowNetS(width=0.05), options=SHORT, out=folder)
    run(Translations(), folder, longer, resume=False)
    assert read_card(folder)["options"]["steps"] == 20
    assert rows(folder)[-1]["step"] == "20"


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    checkpoint = torch.load(file, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, file)


def noted(checkpoint: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint["record"]
    return found


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: file.write_bytes(b""),
        lambda file: torch.save({"weights": 3}, file),
        lambda file: torch.save([1, 2], file),
        lambda file: torch.save({"record": Hostile(file.parent / "trace")}, file),
        lambda file: edit(file, lambda c: c["weights"].popitem()),
        lambda file: edit(file, lambda c: c["weights"].update({"network.conv1.0.weight": torch.zeros(3)})),
        lambda file: edit(file, lambda c: c["weights"].update({"network.conv1.0.weight": 3})),
        lambda file: edit(file, lambda c: next(iter(c["weights"].values())).fill_(torch.nan)),
        lambda file: edit(file, lambda c: c.pop("optimizer")),
        lambda file: edit(file, lambda c: c["optimizer"]["param_groups"].pop()),
        lambda file: edit(file, lambda c: c.update(optimizer=[])),
        lambda file: edit(file, lambda c: c.update(weights=3)),
        lambda file: edit(file, lambda c: c.pop("step")),
        lambda file: edit(file, lambda c: c.update(step=-1)),
        lambda file: edit(file, lambda c: c.update(step=17)),
        lambda file: edit(file, lambda c: c.update(step=2.5)),
        lambda file: edit(file, lambda c: noted(c).update(rows=[{"alien": 1.0}])),
        lambda file: edit(file, lambda c: noted(c).update(rows=3)),
        lambda file: edit(file, lambda c: noted(c).update(metrics={"step": "one"})),
        lambda file: edit(file, lambda c: noted(c)["sums"].pop("epe")),
        lambda file: edit(file, lambda c: noted(c).update(clock=[])),
        lambda file: edit(file, lambda c: noted(c).update(images={"grid": [10**30, 3]})),
        lambda file: edit(file, lambda c: noted(c).update(options={"steps": torch.zeros(3)})),
    ],
)
def test_bad_checkpoints_are_refused(
    tmp_path: Path, whole: tuple[Path, FlowNetS], damage: Callable[[Path], object]
) -> None:
    file = tmp_path / "last.ckpt"
    shutil.copy(whole[0] / "last.ckpt", file)
    damage(file)
    with pytest.raises(ModelFileError, match=r"last\.ckpt is no checkpoint of a training run") as caught:
        run(Untouchable(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("change", [{"options": [1]}, {"architecture": "FlowNetS"}, {"options": {"steps": 10**30}}])
def test_notes_of_another_run_are_refused(tmp_path: Path, whole: tuple[Path, FlowNetS], change: dict[str, Any]) -> None:
    file = tmp_path / "last.ckpt"
    shutil.copy(whole[0] / "last.ckpt", file)
    edit(file, lambda c: noted(c).update(change))
    with pytest.raises(ValueError, match="which holds a run with") as caught:
        run(Untouchable(), tmp_path)
    assert "\n" not in str(caught.value)


def as_of_lightning(new: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as version 0.1 laid it out."""
    return {
        "epoch": 0,
        "global_step": new["step"],
        "pytorch-lightning_version": "2.6.6",
        "state_dict": new["weights"],
        "loops": {},
        "callbacks": {"Recorder": new["record"]},
        "optimizer_states": [new["optimizer"]],
        "lr_schedulers": [{"last_epoch": new["step"]}],
    }


def test_a_run_that_lightning_began_goes_on(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    with pytest.raises(SystemExit):
        run(Interrupted(15, lambda: os.kill(os.getpid(), signal.SIGTERM)), tmp_path)
    file = tmp_path / "last.ckpt"
    old = as_of_lightning(torch.load(file, weights_only=True))
    torch.save(old, file)
    check_same(tmp_path, run(Translations(), tmp_path), whole)
    (tmp_path / "net.json").unlink()
    torch.save({**old, "optimizer_states": []}, file)
    with pytest.raises(
        ModelFileError, match=r"last\.ckpt is no checkpoint of a training run .*; remove it to start again"
    ):
        run(Untouchable(), tmp_path)


def test_checkpoints_of_a_newer_version_are_refused(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    file = tmp_path / "last.ckpt"
    shutil.copy(whole[0] / "last.ckpt", file)
    edit(file, lambda c: c.update(version=2))
    with pytest.raises(ModelFileError, match=r"last\.ckpt has format version 2, not 1; update modelaug"):
        run(Untouchable(), tmp_path)


def test_divergence_is_an_error(tmp_path: Path) -> None:
    options = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"at step 3; pass a learning_rate below 1e\+30, or a gradient_clip"):
        run(Translations(), tmp_path, options)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_source_without_weight_is_an_error(tmp_path: Path) -> None:
    class Doubtful(Translations):
        def draw(self, index: int) -> Pair:
            pair = super().draw(index)
            pair.weight[:] = 0
            return pair

    with pytest.raises(ValueError, match="source gives weight 0 everywhere"):
        run(Doubtful(), tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs safetensors; run: pip install 'modelaug\[train\]'"):
        runpy.run_path(str(modelaug.learning.__file__))


def test_names_that_were_public_still_are_found() -> None:
    for name in ("draw_maps", "vary_intensity"):
        assert name not in modelaug.learning.__all__
        assert getattr(modelaug.learning, name) is getattr(modelaug.learning.augmentation, name)
    with pytest.raises(AttributeError, match="'nothing'"):
        modelaug.learning.nothing  # noqa: B018


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="source is list, which has no draw"):
        run([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_the_weights_come_from(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    assert read_card(whole[0])["source"] is None
    about = {"model_sha256": "0123", "options": {"spacing": (1, 2)}}
    run(Translations(), tmp_path, SHORT, about=about)
    card = read_card(tmp_path)
    assert card["source"] == {"model_sha256": "0123", "options": {"spacing": [1, 2]}}
    assert card["licence"] == "the weights derive from the training images, whose licence applies"
    run(Untouchable(), tmp_path, SHORT, about=about)
    run(Untouchable(), tmp_path, SHORT)
    message = r'holds results of model_sha256 "0123", not "4567"; pass another folder'
    with pytest.raises(ValueError, match=message):
        run(Untouchable(), tmp_path, SHORT, about={**about, "model_sha256": "4567"})
    (tmp_path / "net.json").unlink()  # so that only the checkpoint tells
    with pytest.raises(ValueError, match=message):
        run(Untouchable(), tmp_path, SHORT, about={**about, "model_sha256": "4567"})
    for wrong, error in (([1], TypeError), ({"mean": float("nan")}, ValueError)):
        with pytest.raises(error, match="about "):
            run(Untouchable(), tmp_path / "other", SHORT, about=wrong)
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="half precision works on a GPU")
def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"precision is '16-mixed', which needs a CUDA GPU; pass '32' or 'bf16-mixed'"):
        run(Untouchable(), tmp_path / "out", dataclasses.replace(SHORT, precision="16-mixed"))
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="bfloat16 works on a GPU")
def test_bfloat16_for_volumes_needs_a_gpu(tmp_path: Path) -> None:
    options = dataclasses.replace(ONE, precision="bf16-mixed")
    with pytest.raises(ValueError, match="bf16-mixed', which torch gets wrong for volumes without a GPU; pass '32'"):
        train(Untouchable(), network=PyramidNetwork(3), options=options, out=tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision(tmp_path: Path) -> None:
    run(Translations(), tmp_path, dataclasses.replace(ONE, precision="16-mixed", gradient_clip=1.0))
    loss, exact = float(rows(tmp_path)[0]["loss"]), first_loss(Translations())
    assert 0 < abs(loss - exact) < 0.02 * exact
    assert load_network(tmp_path).conv1[0].weight.dtype == torch.float32
