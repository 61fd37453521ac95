"""Distributed training in several processes, started by torchrun; without it in one."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """The rank of this process among those that train together, and their number.

    Parameters
    ----------
    rank, count
        Rank from 0 on, and number of processes on all machines; rank 0 writes files and messages.
    local
        Number of processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 1

    def device(self) -> torch.device:
        """Return the device of this process: its GPU, or the CPU."""
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if self.count == 1 and torch.backends.mps.is_available() else "cpu")

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process; all must call this."""
        if self.count == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=device)) > 0)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a value over all processes, without gradient; all have to ask."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def wait(self) -> None:
        """Wait until all processes call this."""
        if self.count > 1:
            distributed.barrier()


def is_first() -> bool:
    """Return whether this process writes files and messages, before or after `connect`."""
    return not distributed.is_torchelastic_launched() or os.environ["RANK"] == "0"


def connect() -> Processes:
    """Connect the processes that torchrun started until they end; without torchrun return a single process."""
    count = int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1
    if count == 1:
        return Processes()
    if not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if cuda else "gloo")
        # Not earlier: processes cannot connect again, and a program may train several times.
        atexit.register(distributed.destroy_process_group)
    return Processes(rank=int(os.environ["RANK"]), count=count, local=int(os.environ["LOCAL_WORLD_SIZE"]))
