"""The explorer as its users meet it: controls without a browser, and all of it in one.

The test in the browser needs Playwright (``pip install playwright``) and a Chromium of the system.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("panel")

from modelaug import AppearanceModel, explorer, phantoms
from modelaug.explorer.app import Explorer
from tests.examples import FULL, ellipsoids, heart_model, one_line, same_pairs, volume_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PANELS: Any = {"x": 268, "y": 0, "width": 900, "height": 555}
"""Where they are on the screen."""


def shown(app: Explorer) -> dict[str, np.ndarray[Any, Any]]:
    return {name: source.data["image"][0].copy() for name, source in app._images.items()}


class TestControls:
    def test_every_control_changes_what_is_seen_and_the_line(self) -> None:
        app = Explorer(explorer.ModelChoice(heart_model()), modes=2)
        changes: list[tuple[Any, Any]] = [
            (app.index, 5),
            (app.seed, 2),
            (app.flow, "direct"),
            (app.textures, "shared"),
            (app.pose, "none"),
            (app.source, "modes"),
            (app.shape[0], 1.5),
            (app.texture[1], -0.7),
        ]
        for control, value in changes:
            before, line = shown(app), app.line.value
            control.value = value
            assert any((before[name] != image).any() for name, image in shown(app).items()), control.label
            assert app.line.value != line
            names = {"model": heart_model()}
            exec(app.line.value, names)
            same_pairs(names["pair"], app.pair)  # type: ignore[arg-type]
        assert app.state.shape == (1.5, 0.0)
        pixels = shown(app)["fixed"].view(np.uint8).reshape(64, 64, 4)
        assert (pixels[..., 3] == 255).all()
        app._reset.clicks += 1
        assert app.state.shape == app.state.texture == (0.0, 0.0)
        np.testing.assert_allclose(app.pair.flow, 0, atol=1e-4)

    def test_levels_of_a_cohort(self) -> None:
        app = Explorer(explorer.ModelChoice(phantoms.heart(5, shape=(48, 48), seed=1)))
        before = app.pair
        app.level.value = 1
        assert app.state.level == 1
        assert "levels=1" in app.line.value
        assert (app.pair.flow != before.flow).any()
        app.source.value = "modes"
        assert len(app.state.shape) == 4  # 5 subjects have no more principal components

    def test_view_of_a_model_or_a_cohort(self) -> None:
        import panel as pn

        view = explorer.explore(heart_model(), modes=1)
        assert isinstance(view, pn.viewable.Viewable)
        view.get_root()  # can be made into what the browser gets
        assert view.servable is not None

    def test_bad_arguments_are_refused(self) -> None:
        with pytest.raises(ValueError, match="images in the plane") as caught:
            explorer.explore(volume_model())
        one_line(caught.value)
        with pytest.raises(TypeError, match="what is int"):
            explorer.explore(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="modes is 0"):
            explorer.explore(heart_model(), modes=0)


def test_command_refuses_other_files_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from modelaug.cli import app

    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    volume_model().save(tmp_path / "volume.npz")
    for name, message in (("no.npz", "does not exist"), ("other.npz", "neither a model"), ("volume.npz", "plane")):
        result = CliRunner().invoke(app, ["explore", str(tmp_path / name), "--no-browser"])
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert message in line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the command on a small model; return its address."""
    pytest.importorskip("typer")
    path = tmp_path_factory.mktemp("explore") / "model.npz"
    AppearanceModel.fit(ellipsoids(6, (32, 28), (1.0, 1.0)), **FULL).save(path)
    command = [sys.executable, "-m", "modelaug", "explore", str(path), "--no-browser", "--modes", "2"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        line = run.stdout.readline()
        assert "is shown at http://localhost:" in line, run.stderr.read()
        yield line.split(" is shown at ")[1].split(",")[0]
        run.terminate()
        assert "Traceback" not in run.stderr.read()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_the_browser(server: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    Image = pytest.importorskip("PIL.Image")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 830})
        troubles: list[str] = []
        asked: list[str] = []
        page.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(60_000)
        page.goto(server)
        line = page.locator("textarea")
        page.wait_for_function("document.readyState == 'complete'")
        line.wait_for()

        def settled(text: str) -> tuple[np.ndarray[Any, Any], str]:
            """Return the picture and the line when the line has a text in it and the picture has come, too."""
            for _ in range(300):
                if text in line.input_value():
                    break
                page.wait_for_timeout(100)
            assert text in line.input_value()
            picture, same = b"", 0
            for _ in range(60):
                page.wait_for_timeout(500)
                before, picture = picture, page.screenshot(clip=PANELS)
                same = same + 1 if picture == before else 0
                if same == 3:
                    break
            return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float64), line.input_value()

        page.get_by_text("modes", exact=True).click()
        settled("ModePairs")
        shape = page.locator(".noUi-handle:visible").nth(0)
        seen = []
        for key, text in (("Home", "shape=(-3.0,)"), ("End", "shape=(3.0,)"), ("Home", "shape=(-3.0,)")):
            shape.focus()
            shape.press(key)
            seen.append(settled(text))
        # The browser does not smooth edges alike each time.
        assert np.abs(seen[0][0] - seen[2][0]).mean() < 0.5
        assert np.abs(seen[0][0] - seen[1][0]).mean() > 2
        assert page.get_by_text("drawn in").count() == 1
        browser.close()
    assert troubles == []
    local = server.split("/")[2]
    assert {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))} == {local}  # works without a network
    names: dict[str, Any] = {}
    exec(seen[1][1], names)
    assert names["pair"].flow.shape == (2, 32, 28)
