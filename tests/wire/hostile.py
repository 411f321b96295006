"""Replays the hostile corpus over UDP and TCP: is the server alive and right after it, and how
many octets does it give for one?

    python tests/wire/hostile.py [--server Firsthop|Knot|NSD|BIND|gdnsd] [--count 100000] [--seed 1]
    python tests/wire/hostile.py --limited       # ours, with the rate limits that strangers have
    python tests/wire/hostile.py --target 127.0.0.1:5300 [--log FILE]

Exit code 1 when it died, answers wrongly afterwards, or logged an exception.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, as in bench/dns.py)

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[0] = str(TESTS)
sys.path.insert(1, str(TESTS.parent))

import dns.edns
import dns.message
import structlog.testing

from wire import sample
from wire.compare import OURS, wait_until_ready
from wire.corpus import Packet, corpus
from wire.servers import SERVERS
from wire.target import COOKIE, Target, options_of

BATCH = 48
"""Packets outstanding: few enough for every receive buffer."""
PATIENCE_S = 3.0
ATTEMPTS = 5
MAX_SECONDS = 900.0
"""For each transport; a run that is slower ends early and says so."""
_FAULTS = ("Traceback", "query.failed", "Exception", "assertion", "ASSERT", "core dumped")
_ANSWERED = (0, 3, 6)
"""NOERROR, NXDOMAIN, YXDOMAIN: what an error is not."""
_CLIENT = dns.edns.GenericOption(COOKIE, b"hostile?")


class DeadError(RuntimeError):
    """It does not answer an ordinary query any more."""


def ordinary(address: tuple[str, int]) -> bytes:
    """A query that any server answers: with its cookie, if it gives one, no limit holds it back."""
    first = Target(*address, patience_s=PATIENCE_S).ask("www.example.test", options=[_CLIENT])
    known = [dns.edns.GenericOption(COOKIE, each) for each in options_of(first, COOKIE)]
    edns = 0 if known else False
    return dns.message.make_query(
        "www.example.test", "A", id=0, use_edns=edns, options=known
    ).to_wire()


def replay_udp(
    address: tuple[str, int], packets: Sequence[Packet], mark: bytes, rate: int
) -> list[bytes]:
    """The answer to each packet, empty for none.

    After each batch `mark` is asked; its answer shows that the batch was read.
    """
    answers = [b""] * len(packets)
    started = time.monotonic()
    with socket.socket(
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM
    ) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect(address)
        sock.settimeout(PATIENCE_S)
        places: dict[bytes, int] = {}  # kept, for some servers answer late
        for first in range(0, len(packets), BATCH):
            for at in range(first, min(first + BATCH, len(packets))):
                identity = (at % 0xFFFF + 1).to_bytes(2, "big")
                places[identity] = at
                sock.send(_named(packets[at], identity))
            _read_batch(sock, places, answers, mark)
            ahead = (first + BATCH) / rate - (time.monotonic() - started)
            if ahead > 0:
                time.sleep(ahead)
            if time.monotonic() - started > MAX_SECONDS:
                raise TimeoutError(f"only {first} packets in {MAX_SECONDS:.0f} s")
    print(f"UDP: {len(packets) / (time.monotonic() - started):.0f} packets a second")
    return answers


def _named(packet: Packet, identity: bytes) -> bytes:
    return identity + packet.octets[2:] if len(packet.octets) > 1 else packet.octets


def _read_batch(
    sock: socket.socket, places: dict[bytes, int], answers: list[bytes], mark: bytes
) -> None:
    for _ in range(ATTEMPTS):
        sock.send(mark)
        try:
            while True:
                reply = sock.recv(65535)
                if reply[:2] == b"\0\0":
                    if dns.message.from_wire(reply).answer:
                        return
                elif reply[:2] in places:
                    answers[places[reply[:2]]] = reply
        except TimeoutError:
            continue
    raise DeadError("no answer over UDP")


def replay_tcp(address: tuple[str, int], packets: Sequence[Packet], mark: bytes) -> list[bytes]:
    """The same over TCP; where the server ends a connection, the next goes on behind it."""
    answers = [b""] * len(packets)
    started, at, idle = time.monotonic(), 0, 0
    while at < len(packets):
        end = min(at + BATCH, len(packets))
        places = {(n % 0xFFFF + 1).to_bytes(2, "big"): n for n in range(at, end)}
        messages = [_named(packets[place], name) for name, place in places.items()]
        got, whole = _exchange_tcp(address, messages, mark)
        for reply in got:
            if reply[:2] in places:
                answers[places[reply[:2]]] = reply
        silent = next((n for n in range(at, end) if not answers[n]), end)
        idle = 0 if got else idle + 1
        if idle > 200:
            raise DeadError("no answer over TCP")
        at = end if whole else max(silent, at) + 1
        if time.monotonic() - started > MAX_SECONDS:
            raise TimeoutError(f"only {at} packets in {MAX_SECONDS:.0f} s")
    return answers


def _exchange_tcp(
    address: tuple[str, int], messages: Sequence[bytes], mark: bytes
) -> tuple[list[bytes], bool]:
    """The replies to these and a mark, and whether the mark's was among them."""
    framed = b"".join(len(each).to_bytes(2, "big") + each for each in [*messages, mark])
    data, replies = b"", []
    with socket.create_connection(address, timeout=PATIENCE_S) as stream:
        try:
            stream.sendall(framed)
            while more := stream.recv(65535):
                data += more
                while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
                    replies.append(data[2:end])
                    data = data[end:]
                    if replies[-1][:2] == b"\0\0":
                        return replies, True
        except OSError:
            pass
    return replies, False


def report(transport: str, packets: Sequence[Packet], answers: Sequence[bytes]) -> None:
    """Amplification: octets out by octets in, by packet.

    Those that still are questions after all that get what any question gets; what is given for the
    others, an error or nothing, is the server's own doing.
    """
    everything = range(len(packets))
    spoiled = [n for n in everything if packets[n].mutation != "none"]
    refused = [n for n in spoiled if not answers[n] or answers[n][3] & 0xF not in _ANSWERED]
    still = [n for n in everything if answers[n] and answers[n][3] & 0xF in _ANSWERED]
    for label, chosen in (
        ("all", everything),
        ("spoiled", spoiled),
        ("spoiled, and no question any more", refused),
        ("questions", still),
    ):
        ratios = sorted(len(answers[n]) / max(1, len(packets[n].octets)) for n in chosen)
        silent = sum(not answers[n] for n in chosen)
        total = sum(len(answers[n]) for n in chosen) / sum(len(packets[n].octets) for n in chosen)
        print(
            f"{transport} {label}: {len(ratios)} packets, {silent} unanswered, octets out/in: "
            f"p50 {ratios[len(ratios) // 2]:.2f}, p99 {ratios[len(ratios) * 99 // 100]:.2f}, "
            f"max {ratios[-1]:.2f}, total {total:.2f}"
        )
    for place in sorted(
        everything, key=lambda n: -len(answers[n]) / max(1, len(packets[n].octets))
    )[:3]:
        packet = packets[place]
        print(
            f"  {len(packet.octets)} -> {len(answers[place])} [{packet.mutation}]"
            f" {packet.octets.hex()}"
        )


def faults(log: Path) -> list[str]:
    """Lines of a log that tell of an exception or a crash."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return [line for line in text.splitlines() if any(each in line for each in _FAULTS)]


def run(address: tuple[str, int], chosen: argparse.Namespace) -> None:
    """Both transports, then one right answer of each; raises DeadError."""
    packets = list(corpus(chosen.count, seed=chosen.seed))
    mark = ordinary(address)
    report("UDP", packets, replay_udp(address, packets, mark, chosen.rate))
    report("TCP", packets, replay_tcp(address, packets, mark))
    target = Target(*address, patience_s=PATIENCE_S)
    try:
        right = all(
            dns.message.from_wire(target.octets(mark, tcp=tcp)).answer for tcp in (False, True)
        )
    except OSError:
        right = False
    if not right:
        raise DeadError("no right answer after it all")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Replay hostile packets.")
    parser.add_argument("--server", default=OURS, choices=[OURS, *SERVERS])
    parser.add_argument("--target", help="host:port of a running server instead")
    parser.add_argument("--limited", action="store_true", help="ours: limit loopback too")
    parser.add_argument("--log", type=Path, help="its log, searched for exceptions")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=20_000, help="most packets a second")
    chosen = parser.parse_args()
    found: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-")))
        folder.chmod(0o755)
        events = stack.enter_context(structlog.testing.capture_logs())
        if chosen.target:
            host, _, port = chosen.target.rpartition(":")
            address, log = (host.strip("[]"), int(port)), chosen.log or folder / "none"
        elif chosen.server == OURS:
            limits = {"rate_limit_exempt": []} if chosen.limited else {}
            tables = sample.tables(sample.compiled(folder), **limits)
            server = stack.enter_context(sample.running([("127.0.0.1", 0)], tables))
            address, log = server.addresses[0], folder / "none"
        else:
            process, _ = SERVERS[chosen.server](folder)
            stack.callback(process.stop)
            wait_until_ready(process.port)
            address, log = ("127.0.0.1", process.port), process.log
        try:
            run(address, chosen)
        except DeadError as error:
            found.append(f"dead: {error}")
        found += faults(log) + [str(each)[:500] for each in events]
    print("\n".join(found) if found else "alive, and no exception was logged")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
