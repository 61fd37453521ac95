"""``modelaug explore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelaug import AppearanceModel, Cohort, ModelFileError
from modelaug.cli._console import ThreadsOption, out
from modelaug.cli._files import kind_of_file

__all__ = ["explore"]


def explore(
    thing: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Model of `modelaug fit`, or a cohort to fit.", show_default=False),
    ],
    modes: Annotated[int, typer.Option(min=1, help="Sliders for modes of shape and of texture.")] = 6,
    port: Annotated[int, typer.Option(min=0, max=65535, help="To serve on; 0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Whether to open the browser.")] = True,
    threads: ThreadsOption = None,
) -> None:
    """Explore in the browser what a model draws: random pairs, or modes by sliders, with the Python that does the same.

    With a cohort, models are fitted with the levels of locality to choose from. Serves this machine only, without the
    internet, until Ctrl-C.
    """
    choice = open_choice(thing, threads=threads)
    from modelaug.explorer import explore as view
    from modelaug.explorer.serving import make_server

    view(choice, modes=modes)  # what is wrong with the model is said here, not in the browser
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


def open_choice(path: Path, *, threads: int | None = None) -> Any:
    """Return the models to choose from of a model's or a cohort's file.

    Raises
    ------
    ModelFileError
        If the file cannot be read, or is neither.
    """
    from modelaug.explorer import ModelChoice

    found = kind_of_file(path)
    if found == "field":
        raise ModelFileError(f"{path} is a displacement field, neither a model nor a cohort; pass one of them")
    kind: Any = Cohort if found == "cohort" else AppearanceModel
    expression = f"modelaug.{kind.__name__}.load({str(path.resolve())!r})"
    return ModelChoice(kind.load(path), expression=expression, threads=threads)
