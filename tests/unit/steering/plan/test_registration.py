"""What of a registration may enter the plan."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop_steering.plan.model import Transceiver, TransceiverRegion
from firsthop_steering.plan.registration import Registration, entered, problems_of

HERE: dict[str, Any] = {
    "host": "10.1.0.5",
    "port": 3479,
    "signalling_ipv4": "10.1.0.5",
    "signalling_port": 8082,
}


def region(*networks: str) -> TransceiverRegion:
    place = {"id": "eu", "latitude": 50, "longitude": 8, "networks": networks}
    return TransceiverRegion.model_validate(place)


def registration(**changes: Any) -> Registration:
    return Registration.model_validate({"region": "eu", **HERE, **changes})


def transceiver(**changes: Any) -> Transceiver:
    return Transceiver.model_validate(
        {"id": "eu-1", "region": "eu", "wire_id": 17, **HERE, **changes}
    )


def problems(
    given: Registration, present: Transceiver | None = None, *networks: str
) -> dict[str, str]:
    found = problems_of(given, region(*(networks or ("10.1.0.0/16",))), present)
    return {each.field: each.rule for each in found}


def test_a_new_one_is_entered_as_registered() -> None:
    given = registration(capacity=40)
    assert problems(given) == {}
    assert entered("eu-1", given, None) == transceiver(wire_id=None, capacity=40, registered=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"host": "192.0.2.1"}, "host"),
        ({"host": "::ffff:10.1.0.5"}, "host"),
        ({"signalling_ipv4": "192.0.2.1"}, "signalling_ipv4"),
        ({"signalling_ipv6": "2001:db8::1"}, "signalling_ipv6"),
    ],
)
def test_no_address_lies_outside_the_networks_of_the_region(
    changes: dict[str, Any], field: str
) -> None:
    """So a stolen token leads relays, and clients who ask DNS, nowhere else."""
    for present in (None, transceiver(registered=True)):
        found = problems(registration(**changes), present)
        assert found == {field: f"{given(changes)} lies in none of the networks of region eu"}


def given(changes: dict[str, Any]) -> str:
    (name,) = changes
    return str(getattr(registration(**changes), name))


def test_a_region_without_networks_takes_none() -> None:
    """What operators have not asked for does not happen."""
    found = [each.field for each in problems_of(registration(), region(), None)]
    assert found == ["region"]


def test_one_that_registered_may_move_and_nothing_else() -> None:
    """Weight, state and wire id are not for it to change."""
    present = transceiver(registered=True, weight=50, state="draining")
    moved = registration(host="10.1.0.6", port=4000, capacity=10)
    assert problems(moved, present) == {}
    wanted = present.model_copy(update={"host": moved.host, "port": 4000, "capacity": 10})
    assert entered("eu-1", moved, present) == wanted
    assert set(problems(registration(wire_id=18), present)) == {"wire_id"}
    assert problems(registration(wire_id=17), present) == {}


def test_what_operators_configured_is_confirmed_or_contradicted_and_never_changed() -> None:
    present = transceiver(capacity=10)
    assert problems(registration(capacity=40), present, "192.0.2.0/24") == {}
    assert entered("eu-1", registration(capacity=40), present) is present
    found = problems(registration(port=4000), present)
    assert found == {"port": "is configured by operators as 3479"}


def test_an_id_of_another_region_is_taken() -> None:
    found = problems(registration(), transceiver(region="us", registered=True))
    assert found == {"id": "is a transceiver of region us"}
