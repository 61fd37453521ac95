"""``modelaug train``: what its options do, and networks to begin with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")

import torch
from typer.testing import CliRunner

from modelaug import phantoms
from modelaug.cli import app
from modelaug.learning import PyramidNetwork, SeenImages, load_network, read_card, shipped_network
from tests.examples import heart_model

TINY = ["--steps", "2", "--batch-size", "1", "--width", "0.0625", "--threads", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.npz"
    heart_model().save(path)
    return path


def train(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it writes to standard output and standard error."""
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def net(model: Path) -> Path:
    folder = model.parent / "net"
    code, text, errors = train(model, "-o", folder, *TINY)
    assert code == 0, errors
    assert "end-point error on held-out pairs" in text
    return folder


def test_the_card_names_the_data_and_whose_licence_applies(model: Path, net: Path) -> None:
    card = read_card(net)
    assert card["source"]["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert card["source"] == json.loads((net / "source.json").read_text())["source"]
    assert card["licence"].endswith("whose licence applies")
    options = card["options"]
    assert (options["schedule"], options["ema"], options["augment"], options["precision"]) == (
        "cosine",
        0.998,
        None,
        "32",
    )
    assert options["learning_rate"] == 1e-3
    assert card["architecture"]["name"] == "PyramidNetwork"
    assert card["images"] == {"grid": list(heart_model().grid), "spacing": heart_model().spacing.tolist()}
    assert card["real"] is None


def test_the_papers_network(model: Path, tmp_path: Path) -> None:
    code, _, errors = train(model, "-o", tmp_path, *TINY, "--network", "FlowNetS")
    assert code == 0, errors
    card = read_card(tmp_path)
    assert card["architecture"]["name"] == "FlowNetS"
    assert card["options"]["learning_rate"] == 2e-3
    assert load_network(tmp_path).seen == SeenImages(heart_model().grid, tuple(heart_model().spacing))


def test_real_subjects_take_part(model: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.npz"
    phantoms.heart(3, shape=(64, 64), seed=5).save(cohort)
    code, _, errors = train(model, "-o", tmp_path / "net", *TINY, "--real", cohort)
    assert code == 0, errors
    card = read_card(tmp_path / "net")
    assert len(card["real"]) == 64
    assert card["options"]["real"]["pairs"] == 1
    code, _, errors = train(model, "-o", tmp_path / "net", *TINY)
    assert code == 2
    assert "holds a run with real" in errors


def test_options_of_real_pairs_and_of_the_loss(model: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.npz"
    phantoms.heart(3, shape=(64, 64), seed=5).save(cohort)
    chosen = ["overlap=5", "similarity=squares", "residual.amplitude=3", "residual.spacing=12"]
    given = ["--real", cohort, *(each for name in chosen for each in ("--set-real", name)), "--set-loss", "overlap=1"]
    code, _, errors = train(model, "-o", tmp_path / "net", *TINY, *given)
    assert code == 0, errors
    options = read_card(tmp_path / "net")["options"]
    assert options["real"]["residual"] == {"amplitude": 3, "spacing": 12}
    assert (options["real"]["overlap"], options["real"]["similarity"]) == (5, "squares")
    assert (options["real"]["pairs"], options["loss"]["overlap"]) == (1, 1)
    for arguments, message in (
        (["--set-real", "pairs=1"], "--set-real pairs=1 is passed without --real; pass the cohort too"),
        (["--real", cohort, "--set-real", "rate=1"], "--set-real 'rate=1' names no option; pass NAME=VALUE with one"),
        (["--real", cohort, "--set-real", "pairs=0"], "pairs is 0"),
        (["--real", cohort, "--set-real", "acquisition.noise=1"], "names no option"),
        (["--real", cohort, "--set-real", "residual.spacing=1"], "--set-real residual.amplitude=VALUE is missing"),
        (["--set-loss", "overlap"], "--set-loss 'overlap' names no option"),
        (["--set-loss", "overlap=x"], "overlap is 'x'"),
        (["--set-loss", "overlap=-1"], "--set-loss overlap is -1; pass a finite number at least 0"),
        (["--real", cohort, "--set-real", "similarity=mutual"], "--set-real similarity is 'mutual'; pass one of"),
    ):
        code, _, errors = train(model, "-o", tmp_path / "other", *TINY, *arguments)
        assert code == 2
        assert message in errors
    assert not (tmp_path / "other").exists()


def test_the_weights_that_come_with_the_package_are_where_training_begins(model: Path, tmp_path: Path) -> None:
    still = ["--steps", "1", "--batch-size", "1", "--threads", "1", "--learning-rate", "1e-12"]
    begun = shipped_network(2).state_dict()
    for k, arguments in enumerate(([], ["--weights", "shipped"])):
        code, _, errors = train(model, "-o", tmp_path / f"{k}", *still, *arguments)
        assert code == 0, errors
        assert len(read_card(tmp_path / f"{k}")["source"]["weights_sha256"]) == 64
        for name, tensor in load_network(tmp_path / f"{k}").state_dict().items():
            torch.testing.assert_close(tensor, begun[name], rtol=0, atol=1e-8)
    code, _, errors = train(model, "-o", tmp_path / "none", *still, "--weights", "none", "--seed", "4")
    assert code == 0, errors
    assert "weights_sha256" not in read_card(tmp_path / "none")["source"]
    expected = PyramidNetwork(2, seed=4).state_dict()
    for name, tensor in load_network(tmp_path / "none").state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-8)
    code, _, errors = train(model, "-o", tmp_path / "narrow", *TINY, "--weights", "shipped")
    assert code == 2
    assert "--weights is shipped, a network of width 1.0, not 0.0625; pass --width 1.0" in errors


def test_options_of_training(model: Path, tmp_path: Path) -> None:
    chosen = ["--schedule", "halvings", "--ema", "0", "--precision", "bf16-mixed", "--augment", "--seed", "3"]
    code, _, errors = train(model, "-o", tmp_path / "net", *TINY, *chosen)
    assert code == 0, errors
    options = read_card(tmp_path / "net")["options"]
    assert (options["schedule"], options["ema"], options["precision"]) == ("halvings", None, "bf16-mixed")
    assert options["augment"]["seed"] == 3
    assert options["augment"]["common"]["rotation"] > 0
    code, _, errors = train(model, "-o", tmp_path / "net", *TINY, *chosen, "--no-augment")
    assert code == 2
    assert "holds a run with augment" in errors


def test_weights_to_begin_with(model: Path, net: Path, tmp_path: Path) -> None:
    still = [*TINY, "--learning-rate", "1e-12", "--weights"]
    begun = load_network(net).state_dict()
    for k, given in enumerate((net, net / "net.safetensors")):
        folder = tmp_path / f"{k}"
        code, _, errors = train(model, "-o", folder, *still, given, "--seed", "7")
        assert code == 0, errors
        for name, tensor in load_network(folder).state_dict().items():
            torch.testing.assert_close(tensor, begun[name], rtol=0, atol=1e-8)
        digest = hashlib.sha256((net / "net.safetensors").read_bytes()).hexdigest()
        assert read_card(folder)["source"]["weights_sha256"] == digest
    code, _, errors = train(model, "-o", tmp_path / "0", *TINY, "--learning-rate", "1e-12", "--seed", "7")
    assert code == 2  # that folder's run began with other weights
    assert "weights_sha256" in errors


def test_bad_arguments_are_refused(model: Path, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, message in (
        (["--schedule", "linear"], "schedule is 'linear'; pass one of 'halvings', 'cosine'"),
        (["--ema", "2"], "ema is 2.0; pass a finite number"),
        (["--precision", "8"], "precision is '8'; pass one of '32', 'bf16-mixed', '16-mixed'"),
        (["--weights", tmp_path / "none"], "none holds no network (net.json is missing); pass the folder"),
        (["--weights", net, "--width", "0.125"], "a network of width 0.0625, not 0.125; pass --width 0.0625"),
        (["--weights", net, "--network", "FlowNetS"], "a network of name PyramidNetwork, not FlowNetS; pass --network"),
        (["--network", "UNet"], "architecture is 'UNet'; pass one of "),
        (["--network", "UNet"], "--network: "),
    ):
        code, text, errors = train(model, "-o", out, *TINY, *arguments)
        assert code == 2
        assert text == ""
        (line,) = errors.splitlines()
        assert message in line
    assert not out.exists()
