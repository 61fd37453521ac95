"""Command lines in processes of their own that begin at once: forks of one that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.process import BaseProcess

PRELOADED = ("modelaug.cli", "modelaug.io", "modelaug.synthesis", "distributed")
"""Modules; those that are not installed are left out."""


def start(*arguments: object) -> BaseProcess:
    """Start ``modelaug`` with arguments, quietly; its exit status becomes that of the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *PRELOADED])
    process = context.Process(target=_main, args=([str(each) for each in arguments],))
    process.start()
    return process


def _main(arguments: list[str]) -> None:
    from modelaug.cli import app

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    app(arguments, prog_name="modelaug")
