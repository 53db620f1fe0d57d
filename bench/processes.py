"""What processes cost: CPU seconds and memory, read from /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes and all that descend from them.

    A child that has ended counts as soon as its parent has waited for it.
    """
    return sum(_own_and_waited_for(pid) for pid in family(roots))


def peak_mb(pid: int) -> float:
    """The most memory that a process has held at once; 0 when it has ended."""
    return _status(pid, "VmHWM")


def own_cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes alone."""
    return sum(_own_and_waited_for(pid) for pid in pids)


def children(parent: int) -> set[int]:
    """The processes that this one has started and that run now."""
    return {pid for pid in family([parent]) if int((_stat(pid) or ["", "0"])[1]) == parent}


def family(roots: Iterable[int]) -> set[int]:
    """These processes and their descendants that run now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += parents.get(pid, [])
    return found


def _own_and_waited_for(pid: int) -> float:
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS if fields else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; nothing when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _status(pid: int, name: str) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    kilobytes = next((line.split()[1] for line in text.splitlines() if line.startswith(name)), "0")
    return int(kilobytes) / 1024
