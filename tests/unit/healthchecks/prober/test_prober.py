"""The prober's loops, with a control plane and probes that are objects beside it."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from firsthop_healthchecks import controlplane
from firsthop_healthchecks.controlplane import keep_doing
from firsthop_healthchecks.prober.prober import VIEWS_PER_PART, Prober
from firsthop_healthchecks.prober.statefile import StateFile
from firsthop_healthchecks.prober.target_policy import TargetPolicy
from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome
from firsthop_healthchecks.schedule import Schedule
from firsthop_net.api_session import ControlPlaneCallError
from firsthop_steering.feed.reports import ProbeReport, ProbeTarget, ProbeTargets, VantageView


def targets(*relays: str, port: int = 3478) -> ProbeTargets:
    return ProbeTargets(
        targets=tuple(
            ProbeTarget(
                relay=relay,
                kind="tcp",
                address=ip_address("192.0.2.1"),
                port=port,
                interval_s=0.1,
                timeout_s=0.1,
                rise=1,
                fall=1,
                password="secret",
            )
            for relay in relays
        )
    )


class ProbeSource:
    """A control plane that can be away, and a probe whose dead relays are named."""

    def __init__(self) -> None:
        self.away = False
        self.told = targets("fra-1", "nyc-1")
        self.dead: set[str] = set()
        self.dead_addresses: set[str] = set()
        self.checked: set[str] = set()
        self.reports: list[ProbeReport] = []
        self.closed = False
        self.forgetful = False
        self._news = asyncio.Event()

    waits = False

    async def probe_targets(self) -> ProbeTargets | None:
        if self.away or self.forgetful:
            raise ControlPlaneCallError("away")
        return self.told

    async def send_probe_report(self, report: ProbeReport) -> None:
        if self.away:
            raise ControlPlaneCallError("away")
        self.reports.append(report)
        self._news.set()

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        self.checked.add(target.relay)
        dead = target.relay in self.dead or str(target.address) in self.dead_addresses
        return Failed("dead") if dead else Passed(1.0)

    async def close(self) -> None:
        self.closed = True

    async def until(self, verdicts: dict[str, str]) -> ProbeReport:
        """The first report from now on that says just this."""

        def said() -> bool:
            return {view.relay: view.verdict for view in self.reports[-1].views} == verdicts

        await self.next(said)
        return self.reports[-1]

    async def next(self, holds: Callable[[], bool]) -> None:
        """Wait for the first report from now on with which it holds."""
        async with asyncio.timeout(120):
            while True:
                self._news.clear()
                await self._news.wait()
                if holds():
                    return


async def with_prober(
    world: ProbeSource, path: Path, story: Callable[[Prober], Awaitable[None]]
) -> None:
    prober = Prober(
        *("p-1", "lab"),
        control_plane=world,
        state=StateFile(path),
        probes={"tcp": world},
        policy=TargetPolicy(),
    )
    running = asyncio.create_task(prober.run())
    try:
        await story(prober)
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=60)
    assert running.cancelled()
    assert world.closed


async def test_views_follow_the_relays(tmp_path: Path) -> None:
    """Up, down with its reason, and up again."""
    world = ProbeSource()

    async def story(prober: Prober) -> None:
        report = await world.until({"fra-1": "up", "nyc-1": "up"})
        assert (report.prober, report.vantage) == ("p-1", "lab")
        world.dead = {"nyc-1"}
        report = await world.until({"fra-1": "up", "nyc-1": "down"})
        assert [view.reason for view in report.views] == ["", "dead"]
        world.dead = set()
        await world.until({"fra-1": "up", "nyc-1": "up"})

    await with_prober(world, tmp_path / "state", story)


async def test_two_addresses_of_a_relay_are_seen_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a view of its own; the one that is no longer probed is forgotten alone."""
    monkeypatch.setattr("firsthop_healthchecks.prober.prober.PULL_S", 0.05)
    world = ProbeSource()
    four = targets("fra-1").targets[0]
    six = four.model_copy(update={"family": "ipv6", "address": ip_address("2001:db8::1")})
    world.told = ProbeTargets(targets=(four, six))
    world.dead_addresses = {"2001:db8::1"}

    def said() -> dict[str, str]:
        return {view.family: view.verdict for view in world.reports[-1].views}

    async def story(prober: Prober) -> None:
        await world.next(lambda: said() == {"ipv4": "up", "ipv6": "down"})
        world.told = ProbeTargets(targets=(six,))
        await world.next(lambda: said() == {"ipv6": "down"})

    await with_prober(world, tmp_path / "state", story)
    assert StateFile(tmp_path / "state").read() == world.told


async def test_the_addresses_of_a_relay_are_not_checked_in_step() -> None:
    """Each has a phase of its own within the interval."""
    world = ProbeSource()
    four = targets("fra-1").targets[0]
    prober = Prober(
        *("p", "lab"),
        control_plane=world,
        state=StateFile(Path("unused")),
        probes={"tcp": world},
        policy=TargetPolicy(),
    )
    keys = {
        prober._watch(four)._key,
        prober._watch(four.model_copy(update={"family": "ipv6"}))._key,
    }
    assert len({Schedule.of(key, start=0.0, interval_s=1.0).phase for key in keys}) == 2


async def test_a_start_without_targets_goes_on_from_disk(tmp_path: Path) -> None:
    world = ProbeSource()
    path = tmp_path / "new" / "state"
    StateFile(path).write(world.told)
    world.forgetful = True

    async def story(prober: Prober) -> None:
        await world.until({"fra-1": "up", "nyc-1": "up"})

    await with_prober(world, path, story)


async def test_targets_are_kept_on_disk_for_its_owner(tmp_path: Path) -> None:
    world = ProbeSource()
    path = tmp_path / "new" / "state"

    async def story(prober: Prober) -> None:
        await world.until({"fra-1": "up", "nyc-1": "up"})

    await with_prober(world, path, story)
    assert StateFile(path).read() == world.told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_removed_targets_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firsthop_healthchecks.prober.prober.PULL_S", 0.05)
    world = ProbeSource()

    async def story(prober: Prober) -> None:
        await world.until({"fra-1": "up", "nyc-1": "up"})
        world.told = targets("nyc-1", "sin-1")
        await world.until({"nyc-1": "up", "sin-1": "up"})
        world.told = targets()
        await world.until({})

    await with_prober(world, tmp_path / "state", story)


async def test_more_targets_than_a_report_holds_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is an error in the log, not the end of the prober."""
    monkeypatch.setattr("firsthop_healthchecks.prober.prober.MAX_TARGETS", 2)
    world = ProbeSource()
    world.told = targets("fra-1", "nyc-1", "sin-1")

    async def story(prober: Prober) -> None:
        await world.until({"fra-1": "up", "nyc-1": "up"})

    await with_prober(world, tmp_path / "state", story)


@pytest.mark.parametrize("content", [b"", b"{", b'{"targets": [{}]}', b"\xff" * 9])
def test_a_broken_state_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    assert StateFile(path).read() is None
    assert StateFile(tmp_path / "missing").read() is None
    assert StateFile(tmp_path).read() is None


def test_a_state_file_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    """A full disk, or a file where its folder should be; the old content stays."""
    (tmp_path / "file").write_text("")
    StateFile(tmp_path / "file" / "state").write(targets("a"))
    path = tmp_path / "state"
    StateFile(path).write(targets("a"))
    (tmp_path / "state.new").mkdir()
    StateFile(path).write(targets("b"))
    assert StateFile(path).read() == targets("a")


async def test_a_forgotten_relay_is_not_reported(tmp_path: Path) -> None:
    """Also by a report that is being put together while the targets change."""
    world = ProbeSource()
    world.told = targets(*(f"r-{n}" for n in range(250)))

    async def story(prober: Prober) -> None:
        await world.until({f"r-{n}": "up" for n in range(250)})
        world.told = targets("r-0")
        reporting = asyncio.create_task(prober.reports())
        await asyncio.sleep(0)
        await prober._pull()
        await reporting
        (report,) = await prober.reports()
        assert [view.relay for view in report.views] == ["r-0"]

    await with_prober(world, tmp_path / "state", story)


async def test_views_of_many_relays_are_sent_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each relay is in one part, and stays in it while other relays come and go."""
    monkeypatch.setattr("firsthop_healthchecks.prober.prober.VIEWS_PER_PART", 20)
    world, names = ProbeSource(), [f"r-{n}" for n in range(50)]
    world.told = targets(*names)

    async def parts(prober: Prober) -> dict[str, int]:
        reports = await prober.reports()
        assert [(each.part, each.parts) for each in reports] == [(1, 3), (2, 3), (3, 3)]
        return {view.relay: each.part for each in reports for view in each.views}

    async def story(prober: Prober) -> None:
        await world.next(lambda: sum(len(each.views) for each in world.reports[-3:]) == 50)
        before = await parts(prober)
        assert sorted(before) == sorted(names)
        world.told = targets(*names[1:])
        await prober._pull()
        del before["r-0"]
        assert await parts(prober) == before

    await with_prober(world, tmp_path / "state", story)


def test_a_full_part_is_below_a_mebibyte() -> None:
    """Even if all checks fail, with the longest names and reasons, which a target may write."""
    reason = '\0"é' * 67
    view = {
        "relay": "r" * 63,
        "family": "ipv6",
        "verdict": "down",
        "since": "2026-01-01T00:00:00.123456Z",
        "checked_at": "2026-01-01T00:00:00.123456Z",
        "certificate_ends": "2026-01-01T00:00:00.123456Z",
        "duration_ms": 1234.567890123,
        "reason": reason[:200],
    }
    size = len(VantageView.model_validate(view).model_dump_json())
    assert 1.3 * VIEWS_PER_PART * size < 2**20, "with room for an uneven spread"


async def test_targets_are_read_as_the_model_reads_them() -> None:
    told = targets(*(f"r-{n}" for n in range(250)))
    assert await controlplane.read_targets(told.model_dump_json().encode()) == told


async def test_fields_of_a_newer_control_plane_are_ignored(tmp_path: Path) -> None:
    """An old prober goes on, also from its disk."""
    told = targets("a", "b")
    newer = told.model_dump(mode="json") | {"future": 1}
    newer["targets"][1]["future"] = {"x": 1}
    body = json.dumps(newer).encode()
    assert await controlplane.read_targets(body) == told
    (tmp_path / "state").write_bytes(body)
    assert StateFile(tmp_path / "state").read() == told


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"targets": [{}]}', "targets/0/relay: Field required"),
        (b'{"targets": 7}', "targets: Input should be"),
        (b"[]", "Input should be"),
        (b"{", "Expecting property name"),
        (b"\xff\xff\xff\xff", "decode"),
        (b"[" * 100_000, "recursion"),
    ],
)
async def test_unreadable_targets_say_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(ControlPlaneCallError, match="unreadable targets: ") as caught:
        await controlplane.read_targets(body)
    assert reason in str(caught.value)


async def test_exchanges_wait_longer_each_time_and_recover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Failures in a row count; one success ends them."""
    asked: list[int] = []

    def backoff(failures: int, _: float) -> float:
        asked.append(failures)
        return 0.0

    monkeypatch.setattr(controlplane, "backoff_s", backoff)
    outcomes = iter([True, True, True, False, True, True, False])
    done = asyncio.Event()

    async def exchange() -> None:
        failed = next(outcomes, None)
        if failed is None:
            done.set()
        elif failed:
            raise ControlPlaneCallError("away")

    task = asyncio.create_task(keep_doing(exchange, name="test", every_s=0.001))
    async with asyncio.timeout(120):
        await done.wait()
    task.cancel()
    assert asked == [1, 2, 3, 1, 2]


async def test_a_wake_brings_the_next_exchange_forward() -> None:
    """News that come while one is under way are said in the next."""
    wake, done, exchanges = asyncio.Event(), asyncio.Event(), 0

    async def exchange() -> None:
        nonlocal exchanges
        exchanges += 1
        if exchanges < 4:
            wake.set()
        else:
            done.set()

    task = asyncio.create_task(keep_doing(exchange, name="test", every_s=3600, wake=wake))
    async with asyncio.timeout(120):
        await done.wait()
    task.cancel()
    assert exchanges == 4


async def test_what_the_policy_refuses_is_not_checked(tmp_path: Path) -> None:
    """A metadata address has no view, whatever answers there; the relay beside it has one."""
    world = ProbeSource()
    metadata = ip_address("169.254.169.254")
    secret = targets("secret").targets[0].model_copy(update={"address": metadata})
    world.told = ProbeTargets(targets=(secret, *targets("fra-1").targets))

    async def story(prober: Prober) -> None:
        await world.until({"fra-1": "up"})

    await with_prober(world, tmp_path / "state", story)
    assert world.checked == {"fra-1"}
