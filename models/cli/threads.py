"""How many threads a training takes: what is asked for, else the cores that are free."""

import os
from pathlib import Path
from typing import Annotated

import typer

ThreadsOption = Annotated[
    int, typer.Option(min=0, help="CPU threads; 0 takes as many as cores are free now.")
]


def use_threads(wanted: int) -> int:
    """Give torch `wanted` threads, or one a free core where it is 0; returns how many.

    A thread that waits for a core that others use costs more than it brings: the small networks'
    epochs take ten times as long with a thread too many.
    """
    import torch

    torch.set_num_threads(wanted or free_cores())
    return torch.get_num_threads()


CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def free_cores(limit: Path = CGROUP_LIMIT) -> int:
    """Cores of this process that nobody uses, by the load of the last minute; one at least.

    Args:
        limit: what a container is given (cgroup v2: quota and period in microseconds).
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(own - round(os.getloadavg()[0]), _allotted(limit)))


def _allotted(limit: Path) -> int:
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # none, or `max`
        return os.cpu_count() or 1
