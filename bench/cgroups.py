"""What a container has used, as the kernel counts it: cgroup v1 and v2, read on the engine's own machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def folders(membership: str, root: Path = ROOT) -> dict[str, Path]:
    """Return where a process's controllers are: "cpu" and "memory", from the text of its /proc/PID/cgroup.

    A v2 line ("0::/path") counts where v1 has no such controller. Raises ValueError where neither has one.
    """
    found: dict[str, Path] = {}
    unified = None
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        if (number, controllers) == ("0", ""):
            unified = root / path.lstrip("/")
        for name, wanted in (("cpu", "cpuacct"), ("memory", "memory")):
            if wanted in controllers.split(","):
                # "cpu,cpuacct" is one mount that distributions also link as "cpuacct".
                found[name] = root / wanted / path.lstrip("/")
    for name in ("cpu", "memory"):
        if name not in found:
            if unified is None:
                raise ValueError(f"no {name} accounting in {membership!r}")
            found[name] = unified
    return found


def numbers(text: str) -> dict[str, int]:
    """Return the values of a file of "name value" lines."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def cpu(folder: Path) -> float:
    """Return the CPU time that was used so far, in seconds."""
    usage = folder / "cpuacct.usage"
    if usage.exists():
        return int(usage.read_text()) / 1e9
    return numbers((folder / "cpu.stat").read_text())["usage_usec"] / 1e6


def memory(folder: Path) -> dict[str, int]:
    """Return bytes: "used" as `docker stats` counts them (without cached files that can go), and "own" pages alone."""
    usage = folder / "memory.usage_in_bytes"
    stat = numbers((folder / "memory.stat").read_text())
    if usage.exists():
        total, idle, own = int(usage.read_text()), stat["total_inactive_file"], stat["total_rss"]
    else:
        total, idle, own = int((folder / "memory.current").read_text()), stat["inactive_file"], stat["anon"]
    return {"used": max(0, total - idle), "own": own}


def shares(before: str, after: str) -> dict[str, float]:
    """Return "idle" and "steal", 0 to 1: the shares of all cores' time between two first lines of /proc/stat.

    Stolen is what a virtual machine's host gave to others.
    """
    # user, nice, system, idle, iowait, irq, softirq, steal; what guests took is part of user.
    first, last = ([int(number) for number in line.split()[1:9]] for line in (before, after))
    spent = [now - then for then, now in zip(first, last, strict=True)]
    total = max(1, sum(spent))
    return {"idle": (spent[3] + spent[4]) / total, "steal": spent[7] / total}


class Containers:
    """The accounting of some containers, by service."""

    def __init__(self, processes: Mapping[str, int], root: Path = ROOT) -> None:
        """processes: for each service the id of its container's first process, on this machine."""
        self._folders = {
            name: folders(Path(f"/proc/{process}/cgroup").read_text(), root) for name, process in processes.items()
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each service so far."""
        return {name: cpu(found["cpu"]) for name, found in self._folders.items()}

    def memory(self) -> dict[str, dict[str, int]]:
        """Return the memory of each service now."""
        return {name: memory(found["memory"]) for name, found in self._folders.items()}
