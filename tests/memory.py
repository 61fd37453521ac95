"""How much memory something needs."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory(*, reset: bool = False) -> int:
    """Return the most memory in bytes that this process has had since the last reset."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    except (OSError, IndexError):  # not on Linux: the peak since the process began
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
