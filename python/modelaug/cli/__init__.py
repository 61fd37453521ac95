"""The command line: ``modelaug COMMAND``, from the files of a cohort to registered images.

Results go to standard output, progress and messages to standard error. A wrong argument or file ends with one line and
exit code 2. Needs typer and rich, installed by ``pip install modelaug[cli]``; commands import what else they need when
they run.
"""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Option

from modelaug import __version__
from modelaug.cli._console import Commands, messages_on_stderr, out
from modelaug.cli.apply import apply
from modelaug.cli.compare import compare
from modelaug.cli.convert import convert
from modelaug.cli.demo import demo
from modelaug.cli.explore import explore
from modelaug.cli.fit import fit
from modelaug.cli.info import info
from modelaug.cli.landmarks import landmarks
from modelaug.cli.pretrain import pretrain
from modelaug.cli.register import register
from modelaug.cli.sample import sample
from modelaug.cli.show import show
from modelaug.cli.train import train

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    name="modelaug",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Training pairs with dense ground-truth correspondences for image registration, learned from few images.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _configure(
    context: typer.Context,
    debug: Annotated[bool, Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[
        bool, Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.with_resource(messages_on_stderr())


for _command in (demo, convert, landmarks, show, fit, explore, info, sample, pretrain, train, register, apply, compare):
    app.command()(_command)
