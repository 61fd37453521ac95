"""Draw docs/images/explorer*.png, the explorer seen in a browser; needs playwright and Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import modelaug

IMAGES = Path(__file__).parent / "images"


def take(page: Page, name: str, folder: str) -> None:
    """Take a picture when all has settled, without the temporary folder's name in it."""
    page.wait_for_timeout(4000)
    page.locator("textarea").evaluate("(box, text) => { box.value = box.value.replace(text, ''); }", f"{folder}/")
    page.screenshot(path=IMAGES / name)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hearts.npz"
        modelaug.phantoms.heart(24, seed=0).save(path)
        command = [sys.executable, "-u", "-m", "modelaug", "explore", str(path), "--no-browser"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
            assert server.stdout is not None
            address = server.stdout.readline().split(" is shown at ")[1].split(",")[0]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 720})
            page.set_default_timeout(120_000)
            page.goto(address)
            page.get_by_text("drawn in").wait_for()
            take(page, "explorer.png", folder)
            page.get_by_text("modes", exact=True).click()
            for number, key in ((1, "End"), (2, "Home")):  # the first is that of the levels
                slider = page.locator(".noUi-handle:visible").nth(number)
                slider.focus()
                slider.press(key)
            take(page, "explorer_modes.png", folder)
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
