"""What the tests in network namespaces rest on: places can be cut off, and nothing is left over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from field.namespaces import PREFIX, Place, Switch, sweep, why_not
from support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def heard(here: Place, there: Place) -> bool:
    """Whether a datagram from one place arrives at the other within a quarter of a second."""
    with socket_at(there) as listener, socket_at(here) as sender:
        listener.bind((there.address, 5000))
        listener.settimeout(0.25)
        try:
            sender.sendto(b"x", (there.address, 5000))
            return bool(listener.recv(1))
        except OSError:
            return False


def socket_at(place: Place) -> socket.socket:
    with place.entered():
        return socket.socket(type=socket.SOCK_DGRAM)


def test_places_are_cut_off_and_joined_again() -> None:
    """By the cable, by loss of all packets, and by loss of those to one neighbour alone."""
    with Switch() as switch:
        one, two, three = (switch.place(name, f"10.77.0.{n}") for n, name in enumerate("abc", 1))
        assert heard(one, two)
        for fault in (one.cut, one.drop, lambda: one.drop(two.address)):
            fault()
            assert not heard(one, two)
            assert not heard(two, one)
            assert heard(two, three)
            one.mend()
            until(lambda: heard(one, two) and heard(two, one), "they are joined again")
        one.drop(two.address)
        assert heard(one, three)


CRASHES = """
import subprocess, sys, time
from field.namespaces import Switch
place = Switch().place("a", "10.77.0.1")
with place.entered():
    left = subprocess.Popen(["sleep", "1000"])
print(place.name, left.pid, flush=True)
time.sleep(1000)
"""


def test_what_a_crashed_run_left_is_swept_up() -> None:
    """Its namespaces and who lives in them; those of a living run stay."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    crashing = subprocess.Popen(
        [sys.executable, "-c", CRASHES], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert crashing.stdout is not None
    left = int(crashing.stdout.readline().split()[1])

    def of(pid: int) -> list[Path]:
        return [*Path("/run/netns").glob(f"{PREFIX}{pid}-*")]

    with Switch() as switch:
        switch.place("a", "10.77.0.1")
        sweep()
        assert len(of(crashing.pid)) == 2
        crashing.send_signal(signal.SIGKILL)
        crashing.wait()
        sweep()
        assert of(crashing.pid) == []
        assert len(of(os.getpid())) == 2
    assert of(os.getpid()) == []
    until(lambda: gone(left), "the process in it has ended")


def gone(pid: int) -> bool:
    """Whether it has ended; its parent is gone, so that somebody else may have to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
