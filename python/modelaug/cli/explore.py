"""``modelaug explore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from modelaug import AppearanceModel, Cohort, ModelFileError
from modelaug.cli._console import out
from modelaug.cli._kinds import detect_kind
from modelaug.cli._options import Threads


def explore(
    thing: Annotated[Path, Argument(metavar="MODEL", help="Model of `modelaug fit`, or a cohort to fit.")],
    modes: Annotated[int, Option(min=1, help="Sliders for modes of shape and of texture.")] = 6,
    port: Annotated[int, Option(min=0, max=65535, help="To serve on; 0: any that is free.")] = 0,
    browser: Annotated[bool, Option(help="Whether to open the browser.")] = True,
    threads: Threads = None,
) -> None:
    """Explore in the browser what a model draws: random pairs, or modes by sliders, with the Python that does the same.

    With a cohort, models are fitted with the levels of locality to choose from. Serves this machine only, without the
    internet, until Ctrl-C.
    """
    choice = _open_choice(thing, threads)
    from modelaug.explorer import explore as view
    from modelaug.explorer.serving import make_server

    view(choice, modes=modes)  # reports errors of the model here, not in the browser
    try:
        server = make_server(lambda: view(choice, modes=modes), port=port, title=f"modelaug: {thing.name}")
    except OSError as error:
        raise OSError(f"--port {port} cannot be used ({error.strerror}); pass another one, or 0 for any") from error
    url = f"http://localhost:{server.port}/"
    out.print(f"{thing} is shown at {url}, until Ctrl-C")
    server.start()
    if browser:
        server.io_loop.add_callback(typer.launch, url)
    server.run_until_shutdown()


def _open_choice(path: Path, threads: int | None) -> Any:
    """Load a model, or a cohort with models to choose from, for the explorer."""
    from modelaug.explorer import ModelChoice

    found: Any = {"cohort": Cohort, "model": AppearanceModel}.get(detect_kind(path))
    if found is None:
        raise ModelFileError(f"{path} is neither a model nor a cohort; pass one of them")
    expression = f"modelaug.{found.__name__}.load({str(path.resolve())!r})"
    return ModelChoice(found.load(path), expression=expression, threads=threads)
