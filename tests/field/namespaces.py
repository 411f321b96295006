"""Network namespaces on a bridge: places that can be cut off from each other. Linux, needs root.

Everything is made inside namespaces of our own: the machine's own network is not touched.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "fhf"
"""Namespaces are called PREFIX, the process that made them, a number, and the place."""
_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_runs = itertools.count()


def why_not() -> str:
    """Why there can be no namespaces here; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [each for each in ("ip", "nft") if shutil.which(each) is None]
    if missing:
        return f"network namespaces need {' and '.join(missing)}"
    name = f"{PREFIX}{os.getpid()}-{next(_runs)}-probe"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "bridge", "type", "bridge")
        _run("ip", "netns", "exec", name, "nft", "add", "table", "bridge", "probe")
    except RuntimeError as error:
        return f"no network namespaces here: {error}"
    finally:
        _delete(name)
    return ""


def sweep() -> None:
    """Remove what crashed runs have left: namespaces whose maker is dead, and who lives in them."""
    for path in _NAMED.glob(f"{PREFIX}*-*"):
        maker = path.name.removeprefix(PREFIX).partition("-")[0]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            _delete(path.name)


@contextmanager
def nothing_but_loopback() -> Iterator[None]:
    """This thread's sockets and child processes are alone in the world, as by `unshare -n`."""
    name = f"{PREFIX}{os.getpid()}-{next(_runs)}-alone"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        with _within(name):
            yield
    finally:
        _delete(name)


class Place:
    """One namespace with one address on the bridge."""

    def __init__(self, switch: str, run: str, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._switch, self._netns = switch, f"{run}-{name}"
        _run("ip", "netns", "add", self._netns)
        _run("ip", "-n", self._netns, "link", "set", "lo", "up")
        self._join(switch, "eth0", address)

    def _join(self, switch: str, device: str, address: str) -> None:
        inside, peer = ("ip", "-n", self._netns), ("peer", "name", self.name, "netns", switch)
        _run(*inside, "link", "add", device, "type", "veth", *peer)
        _run(*inside, "address", "add", f"{address}/16", "dev", device)
        _run(*inside, "link", "set", device, "up")
        _run("ip", "-n", switch, "link", "set", "dev", self.name, "master", "bridge", "up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's sockets and child processes are of this place meanwhile."""
        with _within(self._netns):
            yield

    def cut(self) -> None:
        """Pull its cable."""
        _run("ip", "-n", self._switch, "link", "set", "dev", self.name, "down")

    def drop(self, *others: str) -> None:
        """Lose every packet from and to these addresses without a word; none given: all packets.

        On the bridge, so that nobody is told: a drop on one's own way out would be an error.
        """
        told = (f'iifname "{self.name}"', "daddr"), (f'oifname "{self.name}"', "saddr")
        rules = [
            f"{way} ip {field} {{ {', '.join(others)} }} drop" if others else f"{way} drop"
            for way, field in told
        ]
        table = f"table bridge {self.name}"
        hook = "type filter hook forward priority 0"
        chain = "\n".join(["chain lost {", hook, *rules, "}"])
        self._nft(f"{table}\ndelete {table}\n{table} {{\n{chain}\n}}")

    def translate(self, home: Switch, address: str) -> None:
        """Be the NAT of another bridge, there by `address`: who leaves gets a random port here."""
        self._join(home.name, "eth1", address)
        self._here("sysctl", "-qw", "net.ipv4.ip_forward=1")
        hook = "type nat hook postrouting priority 100"
        rule = 'oifname "eth0" masquerade fully-random'
        rules = "\n".join(["table ip nat {", "chain out {", hook, rule, "}", "}", ""])
        self._here("nft", "-f", "-", said=rules)

    def rebind(self) -> None:
        """Forget who had which port: Linux drops what it masquerades with the link."""
        for state in ("down", "up"):
            _run("ip", "-n", self._netns, "link", "set", "dev", "eth0", state)

    def leave_by(self, gateway: str) -> None:
        """The way to everywhere else."""
        _run("ip", "-n", self._netns, "route", "add", "default", "via", gateway)

    def mend(self) -> None:
        """Undo `cut` and `drop`."""
        table = f"table bridge {self.name}"
        self._nft(f"{table}\ndelete {table}")
        _run("ip", "-n", self._switch, "link", "set", "dev", self.name, "up")

    def _here(self, *command: str, said: str | None = None) -> None:
        _run("ip", "netns", "exec", self._netns, *command, said=said)

    def _nft(self, rules: str) -> None:
        _run("ip", "netns", "exec", self._switch, "nft", "-f", "-", said=rules + "\n")


class Switch:
    """The bridge, and all places on it; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        sweep()
        self._run = f"{PREFIX}{os.getpid()}-{next(_runs)}"
        self.name = f"{self._run}-switch"
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self.name, "link", "set", "bridge", "up")

    def place(self, name: str, address: str) -> Place:
        """A new place with an IPv4 address; `name` has at most 15 characters."""
        return Place(self.name, self._run, name, address)

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *_: object) -> None:
        for path in _NAMED.glob(f"{self._run}-*"):
            _delete(path.name)


def _delete(name: str) -> None:
    """The namespace and every process in it, which can only be one that was started for it."""
    if not (_NAMED / name).exists():
        return
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in listed.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@contextmanager
def _within(name: str) -> Iterator[None]:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(_NAMED / name, os.O_RDONLY)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str, said: str | None = None) -> None:
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
