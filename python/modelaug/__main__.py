"""The command line: ``modelaug`` and ``python -m modelaug``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from modelaug.cli import app

        app(prog_name="modelaug")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("click", "rich", "shellingham", "typer"):
            raise
        sys.stderr.write(f"modelaug: the command line needs {error.name}; pip install 'modelaug[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:  # while modules are imported, or at the end
        sys.stderr.write("modelaug: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
