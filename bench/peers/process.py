"""A server under test as a child process: starting, CPU clocks, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_S = 10.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class AbsentError(Exception):
    """The server is not installed; the message says what is missing."""


class StartError(RuntimeError):
    """The server did not start; the message has the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that is currently free for UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            with socket.socket() as tcp:
                try:
                    tcp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port


def first_line(command: Sequence[str], containing: str = "") -> str:
    """The first line of a command's output (both streams) that contains `containing`, or ''."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=20,
    )
    return next((line.strip() for line in done.stdout.splitlines() if containing in line), "")


def pin(cpu: int | None) -> None:
    """Pins the calling process to one CPU; None does nothing."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def _stat_fields(path: str) -> list[str]:
    """The fields of a stat file after the command name, which may hold spaces."""
    text = Path(path).read_text()
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(_stat_fields(f"/proc/{entry}/stat")[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(parents.get(pid, ()))
    return found


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU by thread (user plus system), at one time."""

    exact: Mapping[tuple[int, int], float]
    """By (process, thread), from schedstat: nanosecond resolution."""
    ticks: float
    """The whole tree's utime + stime, from stat: resolution 1 / CLK_TCK, usually 10 ms."""


def cpu_of(pids: Iterable[int]) -> Cpu:
    """The CPU clocks of these processes and all their threads."""
    exact: dict[tuple[int, int], float] = {}
    ticks = 0.0
    for pid in pids:
        fields = _stat_fields(f"/proc/{pid}/stat")
        ticks += (int(fields[11]) + int(fields[12])) * _TICK_S
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
            except OSError:
                continue
            exact[pid, int(thread)] = int(text.split()[0]) / 1e9
    return Cpu(exact=exact, ticks=ticks)


def cpu_between(before: Cpu, after: Cpu) -> float:
    """Seconds of CPU used from `before` to `after`.

    Uses schedstat where the kernel has it. It loses threads that have ended, stat does not; so the
    larger of both counts, after subtracting stat's error of one tick per reading.
    """
    ticks = after.ticks - before.ticks
    if not after.exact:
        return ticks
    exact = sum(used - before.exact.get(key, 0.0) for key, used in after.exact.items())
    return exact if exact >= ticks * 0.9 - 2 * _TICK_S else ticks


@dataclass
class Server:
    """A started server: its name, version, port and process."""

    name: str
    version: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    answers: bool = True
    """False for the echo, whose datagrams are not checked."""

    def cpu(self) -> Cpu:
        """CPU clocks of the whole process tree."""
        if self.process.poll() is not None:
            raise StartError(f"{self.name} ended by itself:\n{self.tail()}")
        return cpu_of(tree(self.process.pid))

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Terminates it and its descendants by id; kills those that do not end."""
        pids = tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # A child that outlives its parent is still in the session created here.
        for pid in pids[1:]:
            try:
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    version: str,
    port: int,
    folder: Path,
    cpu: int | None,
    env: Mapping[str, str] | None = None,
    answers: bool = True,
) -> Server:
    """Starts `command` in its own session, pinned to `cpu`, with its output in `folder`/log.

    `env` is its whole environment, by default this process's.
    """
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: pin(cpu),
        )
    return Server(name, version, port, process, log, answers)
