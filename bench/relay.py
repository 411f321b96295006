"""CPU per forwarded packet of Firsthop's relay, coturn and a plain C forwarder.

    python bench/relay.py [--quick] [--rounds 5] [--packets 40000] [--flows 50,5000]

See bench/README.md for what is measured, and docs/performance.md for figures.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import os
import platform
import signal
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.peers.process import AbsentError, StartError, cpu_between, pin
from bench.relays import PEERS, REFERENCE
from bench.relays.coturn import PAYLOAD
from bench.relays.flow import Flow, Peer, client, far_end

from firsthop_relay.io.upstreams import raise_file_limit

BUDGET = 1.2
"""Budget: CPU per packet relative to coturn must not exceed this."""
BURST = 64
START_TIMEOUT_S = 30.0
LATENCY_SAMPLES = 2000
PACKET = b"\x80\x6f" + bytes(PAYLOAD - 2)
FRAME_S = 0.020
"""Interval at which a call sends a packet each way."""
SLOTS = 20


@dataclass
class Result:
    """The results of one relay over all rounds with one number of flows."""

    name: str
    peer: Peer
    flows: list[Flow]
    up_us: list[float] = field(default_factory=list)
    down_us: list[float] = field(default_factory=list)

    @property
    def both_us(self) -> list[float]:
        """CPU microseconds per packet, mean of both directions, one value per round."""
        return [(up + down) / 2 for up, down in zip(self.up_us, self.down_us, strict=True)]

    def ratio_to(self, other: Result) -> float:
        """Median over the rounds of the ratio to the other relay's figure in the same round."""
        return statistics.median(a / b for a, b in zip(self.both_us, other.both_us, strict=True))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="CPU per forwarded packet, side by side.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packets", type=int, default=40_000, help="a relay, way and round")
    parser.add_argument("--flows", default="50,5000")
    parser.add_argument("--calls", type=int, default=200, help="of the paced run; 0: none")
    parser.add_argument("--seconds", type=float, default=5, help="of the paced run")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 5,000: a smoke test")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.packets, chosen.seconds = 2, 5_000, 1
    chosen.flows = [int(each) for each in chosen.flows.split(",")]
    return chosen


def open_flows(name: str, number: int, peer: Peer, count: int, far: socket.socket) -> Result:
    """Opens all flows; the first one waits until the relay is up."""
    port, deadline = peer.server.port, time.monotonic() + START_TIMEOUT_S
    first = client(number, 0, port)
    while True:
        first.settimeout(0.2)
        far.settimeout(0.2)
        try:
            flows = [peer.connect(first, far)]
            break
        except OSError:
            peer.server.cpu()  # raises when it has ended
            if time.monotonic() > deadline:
                raise StartError(f"{name} did not come up:\n{peer.server.tail()}") from None
    for sock in (first, far):
        sock.settimeout(5)
    flows += [peer.connect(client(number, each, port), far) for each in range(1, count)]
    return Result(name, peer, flows)


def up(flows: list[Flow], far: socket.socket, first: int, count: int) -> None:
    """Sends `count` packets from clients in bursts. Raises TimeoutError if one is lost."""
    for start in range(first, first + count, BURST):
        for each in range(start, start + BURST):
            flow = flows[each % len(flows)]
            flow.sock.send(flow.prefix + PACKET)
        for _ in range(BURST):
            assert far.recv(2048) == PACKET


def down(flows: list[Flow], far: socket.socket, first: int, count: int) -> None:
    """Sends `count` packets to clients in bursts."""
    for start in range(first, first + count, BURST):
        some = [flows[each % len(flows)] for each in range(start, start + BURST)]
        for flow in some:
            far.sendto(PACKET, flow.upstream)
        for flow in some:
            assert flow.sock.recv(2048) == flow.prefix + PACKET


def measure(result: Result, far: socket.socket, packets: int, round_number: int) -> None:
    """One round of one relay."""
    packets = max(1, packets // BURST) * BURST
    for way, figures in ((up, result.up_us), (down, result.down_us)):
        before = result.peer.server.cpu()
        way(result.flows, far, round_number * packets, packets)
        figures.append(cpu_between(before, result.peer.server.cpu()) / packets * 1e6)


def latency(send: socket.socket, prefix: bytes, far: socket.socket) -> list[float]:
    """Microseconds from a client's send to the far end's receive, for single packets."""
    took = []
    for _ in range(LATENCY_SAMPLES):
        began = time.perf_counter_ns()
        send.send(prefix + PACKET)
        far.recv(2048)
        took.append((time.perf_counter_ns() - began) / 1000)
    return sorted(took)


def paced(result: Result, far: socket.socket, calls: int, seconds: float) -> tuple[float, int, int]:
    """Runs calls at 50 packets a second each way: share of a core, packets sent, packets lost."""
    flows = result.flows[:calls]
    for sock in (far, *(flow.sock for flow in flows)):
        sock.setblocking(False)
    sent = got = 0
    before, began = result.peer.server.cpu(), time.perf_counter()
    for slot in range(int(seconds / FRAME_S * SLOTS)):
        for flow in flows[slot % SLOTS :: SLOTS]:
            flow.sock.send(flow.prefix + PACKET)
            far.sendto(PACKET, flow.upstream)
            sent += 2
        while (left := began + slot * FRAME_S / SLOTS - time.perf_counter()) > 0:
            time.sleep(left)
        got += drained(far) + sum(
            drained(flow.sock) for flow in flows[(slot + 10) % SLOTS :: SLOTS]
        )
    used = cpu_between(before, result.peer.server.cpu()) / (time.perf_counter() - began)
    time.sleep(0.2)
    got += drained(far) + sum(drained(flow.sock) for flow in flows)
    for sock in (far, *(flow.sock for flow in flows)):
        sock.settimeout(5)
    return used, sent, sent - got


def drained(sock: socket.socket) -> int:
    """Drains a socket; returns the number of packets in it."""
    count = 0
    while True:
        try:
            sock.recv(2048)
        except BlockingIOError:
            return count
        count += 1


def run(count: int, options: argparse.Namespace, cpus: tuple[int | None, int | None]) -> None:
    """Measures all relays with one number of flows: rounds, delay, calls."""
    with ExitStack() as stack:
        far = stack.enter_context(far_end())
        results = []
        for number, (name, start) in enumerate(PEERS.items()):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{name}-")))
            try:
                peer = start(folder, count, cpus[0])
            except AbsentError as reason:
                print(f"skipped {name}: {reason}")
                continue
            stack.callback(peer.server.stop)
            results.append(open_flows(name, number, peer, count, far))
            for flow in results[-1].flows:
                stack.callback(flow.sock.close)
        pin(cpus[1])
        for round_number in range(options.rounds):
            for each in results:
                measure(each, far, options.packets, round_number)
        report(count, results)
        direct = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        direct.connect(far.getsockname())
        report_delay(results, far, latency(direct, b"", far))
        if options.calls and count >= options.calls:
            for each in results:
                used, sent, lost = paced(each, far, options.calls, options.seconds)
                print(
                    f"  {each.name}: {options.calls} calls of 100 packets/s, {sent:,} packets:"
                    f" {used:.1%} of a core, {lost} lost"
                )


def report(count: int, results: list[Result]) -> None:
    """Prints the table, and checks the budget."""
    reference = next((each for each in results if each.name == REFERENCE), None)
    print(f"\n{count:,} flows, {PAYLOAD} bytes a packet")
    columns = "{:<10} {:>12} {:>8} {:>8} {:>15} {:>10}"
    print(columns.format("relay", "CPU us/packet", "up", "down", "min - max", "x " + REFERENCE))
    for each in sorted(results, key=lambda result: statistics.median(result.both_us)):
        print(
            columns.format(
                each.name,
                f"{statistics.median(each.both_us):.2f}",
                f"{statistics.median(each.up_us):.2f}",
                f"{statistics.median(each.down_us):.2f}",
                f"{min(each.both_us):.2f} - {max(each.both_us):.2f}",
                f"{each.ratio_to(reference):.2f}" if reference else "-",
            )
        )
    ours = next(each for each in results if each.name == "firsthop")
    if reference:
        measured = ours.ratio_to(reference)
        verdict = "met" if measured <= BUDGET else "MISSED"
        print(f"budget: firsthop at most {BUDGET:g} x {REFERENCE}: {measured:.2f}, {verdict}")


def report_delay(results: list[Result], far: socket.socket, direct: list[float]) -> None:
    """Prints the delay that a relay adds, compared with the same two sockets without it."""
    p50, p99 = (int(LATENCY_SAMPLES * share) for share in (0.5, 0.99))
    for each in results:
        took = latency(each.flows[0].sock, each.flows[0].prefix, far)
        print(
            f"  {each.name}: adds {took[p50] - direct[p50]:.0f} us at p50,"
            f" {took[p99] - direct[p99]:.0f} us at p99 to an idle relay's packet"
        )


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the relays are stopped
    raise_file_limit()
    cpus = sorted(os.sched_getaffinity(0))
    pair = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
    began = time.monotonic()
    print(f"{os.cpu_count()} CPUs, Linux {platform.release()}; relays on CPU {pair[0]}")
    try:
        for count in options.flows:
            run(count, options, pair)
    except (StartError, TimeoutError) as failure:
        print(f"failed: {failure or 'a packet was lost'}", file=sys.stderr)
        return 1
    print(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
