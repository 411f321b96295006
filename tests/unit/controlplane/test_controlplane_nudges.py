"""When probers are to look at once."""

from __future__ import annotations

from firsthop_controlplane.health.recheck import MIN_PAUSE_S, SILENT_AFTER_S, RecheckRequests


def test_silence_nudges_once() -> None:
    """When it begins, not as long as it lasts; and again when the agent spoke in between."""
    rechecks = RecheckRequests()
    rechecks.listen({"fra-1": SILENT_AFTER_S, "fra-2": 0.0}, 100.0)
    assert rechecks.numbers == {}
    rechecks.listen({"fra-1": SILENT_AFTER_S + 1}, 101.0)
    rechecks.listen({"fra-1": SILENT_AFTER_S + 60}, 160.0)
    assert rechecks.raised == 1
    rechecks.listen({"fra-1": 0.0}, 161.0)
    rechecks.listen({"fra-1": SILENT_AFTER_S + 1}, 170.0)
    assert (rechecks.raised, rechecks.numbers) == (2, {"fra-1": 170_000})


def test_a_flapping_agent_makes_no_storm() -> None:
    """At most one nudge in five seconds for a relay; others are not held up."""
    rechecks = RecheckRequests()
    for at in range(100):
        rechecks.nudge("fra-1", at / 10)
    assert rechecks.raised == 10 / MIN_PAUSE_S
    rechecks.nudge("fra-2", 9.9)
    assert (rechecks.numbers["fra-2"], rechecks.raised) == (9900, 3)


def test_what_happens_within_the_pause_is_looked_into_after_it() -> None:
    """A relay that came and went at once must not wait for its next check."""
    rechecks = RecheckRequests()
    rechecks.nudge("fra-1", 10.0)
    rechecks.nudge("fra-1", 11.0)
    rechecks.listen({}, 12.0)
    assert rechecks.raised == 1
    rechecks.listen({}, 10.0 + MIN_PAUSE_S)
    rechecks.listen({}, 100.0)
    assert rechecks.raised == 2


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    """The pause is counted on either side, and numbers only rise."""
    rechecks = RecheckRequests()
    rechecks.nudge("fra-1", 10_000.0)
    rechecks.nudge("fra-1", 6_400.0)
    assert rechecks.numbers["fra-1"] == 10_000_001


def test_what_is_gone_is_forgotten() -> None:
    """And a relay of the same name begins anew."""
    rechecks = RecheckRequests()
    rechecks.nudge("fra-1", 1.0)
    rechecks.forget_all_but(["fra-2"])
    rechecks.nudge("fra-1", 1.5)
    assert rechecks.numbers == {"fra-1": 1500}
    assert rechecks.raised == 2


def test_a_new_leader_asks_by_other_numbers() -> None:
    """A prober that keeps the last number of the leader before looks all the same."""
    before, after = RecheckRequests(), RecheckRequests()
    before.nudge("fra-1", 100.0)
    after.nudge("fra-1", 103.0)
    assert before.numbers != after.numbers
