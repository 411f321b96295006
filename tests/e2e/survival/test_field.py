"""A whole deployment loses a part: probers cut off, probers gone, anybody killed, all at once."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from field.asking import Poller
from field.programs import Program
from field.world import CLIENTS, CONTROLPLANES, EDGES, VANTAGES, Field
from firsthop.up.demo import SERVICE
from soak.run import soak
from support.waiting import DEADLINE_S, until

pytestmark = [pytest.mark.e2e, pytest.mark.database, pytest.mark.xdist_group("deployment")]


def relay_status(field: Field, region: str) -> Any:
    return field.status()["relays"][f"{region}-1"]


def reasons(field: Field) -> dict[str, str]:
    """Why each relay's verdict is what it is, now.

    Another reason alone is no news to edges, so a status is provoked: an agent drains, and back.
    """
    agent = field.programs["agent-iad"]
    for number, draining in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
        agent.send(number)
        until(lambda d=draining: relay_status(field, "iad")["draining"] == d, "a drain is told")
    return {name: str(each["reason"]) for name, each in field.status()["relays"].items()}


def all_send(field: Field, region: str, *, to: str, but: str) -> bool:
    """Whether every edge sends a region's client to some other relay, or to its own."""
    answers = {edge: field.answers(edge)[region] for edge in EDGES}
    return all(each and (each == to if to else each != but) for each in answers.values())


def until_moved(field: Field, region: str) -> None:
    own = field.relays[region]
    until(lambda: all_send(field, region, to="", but=own), f"{region} is left")


def test_a_prober_that_is_cut_off_changes_nothing(field: Field) -> None:
    """Its vantage stops counting, the others notice a dead relay, and it is heard again."""
    field.programs[VANTAGES[0]].place.cut()
    dead = field.programs["relay-gru"]
    try:
        until(
            lambda: not any("of 3 vantages" in each for each in reasons(field).values()),
            "its views are stale",
        )
        assert not any(r["verdict"] == "down" for r in field.status()["relays"].values())
        dead.kill()
        until_moved(field, "gru")  # at its agent's word; the vantages' follows
        until(lambda: relay_status(field, "gru")["verdict"] == "down", "it is measured down")
        assert "of 2 vantages" in relay_status(field, "gru")["reason"]
    finally:
        field.programs[VANTAGES[0]].place.mend()
        dead.start()
    field.settle(within=DEADLINE_S)
    until(
        lambda: "of 3 vantages" in reasons(field)["fra-1"],
        "three vantages count again",
    )


def test_a_vantage_that_alone_sees_a_relay_down_changes_no_answer(field: Field) -> None:
    """Packets between the two are lost: one lies, two know better."""
    prober, relay = field.programs[VANTAGES[1]], field.relays["syd"]
    since = time.time()
    asking = Poller(field.clients, field.edges, SERVICE, {"syd": CLIENTS["syd"]}, every_s=0.02)
    asking.start()
    try:
        prober.place.drop(relay)
        until(lambda: turned(prober, since, "down"), "it says down")
        told = time.time() + 2.0  # its next report is a second away at most
        until(lambda: {e.edge for e in asking.heard if e.at > told} == set(EDGES), "all answer")
        prober.place.mend()
        until(lambda: turned(prober, since, "up"), "it says up again")
    finally:
        prober.place.mend()
        asking.end()
    assert {each.address for each in asking.heard} == {relay}
    assert {each.edge for each in asking.heard} == set(EDGES)


def turned(prober: Program, since: float, view: str) -> bool:
    """Whether a prober has said that its view of the relay in Sydney turned."""
    said = prober.said("view.changed", since)
    return any((each["relay"], each["view"]) == ("syd-1", view) for each in said)


def test_with_all_probers_gone_verdicts_freeze_and_say_since_when(field: Field) -> None:
    """What was up stays up, although it dies; when one prober is back, it is found out."""
    dead = field.programs["relay-bom"]
    for name in VANTAGES:
        field.programs[name].kill()
    try:
        until(
            lambda: "frozen as up" in reasons(field)["bom-1"],
            "verdicts are frozen",
        )
        assert "last check at 20" in reasons(field)["bom-1"]
        dead.kill()
        for edge in EDGES:
            assert field.answers(edge)["bom"] == field.relays["bom"], "nobody can know"
            assert field.ready(edge)["snapshots"]["status"]["age_s"] >= 0
        for name in VANTAGES:
            field.programs[name].start()
        until_moved(field, "bom")
    finally:
        for name in VANTAGES:
            field.programs[name].start()
        dead.start()
    field.settle(within=DEADLINE_S)


KILLED = [CONTROLPLANES[0], EDGES[0], "worker", VANTAGES[0], "relay-sin", "agent-sin", "database"]


@pytest.mark.parametrize("name", KILLED)
def test_kill_9_of_anything_is_survived(field: Field, name: str) -> None:
    """The other edges answer on as if nothing had happened; started again, all is as before."""
    others = EDGES[1:]
    regions = [each for each in field.regions if name != f"relay-{each}"]
    before = {edge: field.answers(edge) for edge in others}
    if name == "worker":
        worker = field.programs[EDGES[0]].child("edge-worker", "dns")
        assert worker is not None
        worker.kill()
    elif name == "database":
        field.database.kill()
    else:
        field.programs[name].send(signal.SIGKILL)
    for _ in range(5):
        for edge in others:
            answers = field.answers(edge)
            assert {each: answers[each] for each in regions} == {
                each: before[edge][each] for each in regions
            }
    if name == "relay-sin":
        until_moved(field, "sin")
    until(lambda: name in ("worker", "database") or not field.programs[name].alive, "it is dead")
    field.tend()
    field.settle(within=DEADLINE_S)
    if name == "worker":
        until(lambda: field.answers(EDGES[0]) == before[others[0]], "another worker answers")


CHAOS_S = 15.0
SEED = 1005
"""Every kind of process fails; the relays are those of no other test here."""
CONVERGE_S = 90.0
"""`make soak` has 10; other tests take the processors here."""


def test_a_quarter_of_a_minute_of_chaos(field: Field) -> None:
    """`make soak` with one storm and one lull: every query is answered, no answer names a relay
    that is long dead, and all agree again."""
    soaked = soak(field, SEED, CHAOS_S, converge_within_s=CONVERGE_S)
    assert soaked.findings.unanswered == ()
    assert soaked.findings.wrong == ()
    assert soaked.broken == {}
    assert len(soaked.spans) == len(soaked.faults) > 3
    assert soaked.findings.judged > 0, "no answer could have been wrong"
