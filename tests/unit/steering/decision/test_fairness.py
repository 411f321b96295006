"""min_candidates: how many failure domains each group of clients has, for good and now."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop_steering.decision.fairness_now import endangered
from firsthop_steering.plan.document import Document, problems_in
from support.worlds import NOW, plan_of, status_of

FIELD = "services/s/min_candidates"


def _document(*, domains: dict[str, str | None], wanted: int = 2, **more: Any) -> dict[str, Any]:
    """Relays by id, the part before the hyphen being their region, with their failure domains."""
    regions = sorted({name.split("-")[0] for name in domains})
    return {
        "regions": [
            {"id": id_, "latitude": 50 + n, "longitude": 8} for n, id_ in enumerate(regions)
        ],
        "relays": [
            {"id": id_, "region": id_[:3], "ipv4": f"192.0.2.{n}", "failure_domain": domain}
            for n, (id_, domain) in enumerate(domains.items())
        ],
        "services": [{"id": "s", "name": "s.edge.example.", "min_candidates": wanted}],
        **more,
    }


def _problems(**fields: Any) -> list[str]:
    plan = plan_of(_document(**fields))
    return [each.rule for each in problems_in(plan.document) if each.field == FIELD]


def test_relays_of_one_failure_domain_are_one_candidate() -> None:
    """A relay without one is its own."""
    assert _problems(domains={"fra-1": None, "fra-2": None}) == []
    assert _problems(domains={"fra-1": "rack", "iad-1": "other"}) == []
    assert _problems(domains={"fra-1": "carrier", "iad-1": "carrier"}) == [
        "for all clients there are 1 failure domains; 2 are required"
    ]
    assert _problems(domains={}, wanted=1) == [], "when_all_down speaks of that"


@pytest.mark.parametrize(
    ("override", "count"),
    [
        ({"mode": "only", "regions": ["fra"]}, 1),
        ({"mode": "only", "regions": ["fra", "iad"]}, None),
        ({"mode": "avoid", "regions": ["iad", "sin"]}, 1),
        ({"mode": "avoid", "regions": ["fra"]}, None),
        ({"mode": "prefer", "regions": ["fra"]}, None),
        ({"mode": "only", "regions": ["fra"], "service": "other"}, None),
        ({"mode": "only", "regions": ["fra"], "expires_at": "2026-12-01T00:00:00Z"}, None),
        ({"mode": "only", "regions": ["eu"]}, None),
    ],
)
def test_a_group_is_whom_an_override_speaks_of(override: dict[str, Any], count: int | None) -> None:
    """Only and avoid take candidates away; what ends by itself refuses no document."""
    fields = _document(
        domains={"fra-1": None, "iad-1": None, "sin-1": None},
        overrides=[{"id": "o", "country": "DE", **override}],
        transceiver_regions=[{"id": "eu", "latitude": 50, "longitude": 8}],
    )
    fields["services"].append({"id": "other", "name": "o.edge.example."})
    found = [each.rule for each in problems_in(plan_of(fields).document) if each.field == FIELD]
    rule = f"for clients of override o there are {count} failure domains; 2 are required"
    assert found == ([] if count is None else [rule])


def test_what_is_down_drained_or_overridden_now_is_warned_of() -> None:
    """And is no fault of the document."""
    domains = {"fra-1": None, "iad-1": None}
    fields = _document(domains=domains)
    plan = plan_of(fields)
    assert list(endangered(plan, status_of(), NOW)) == []
    (warning,) = endangered(plan, status_of(fra_1="down"), NOW)
    assert warning.field == FIELD
    assert warning.rule == "for all clients there are now 1 failure domains; 2 are required"
    fields["regions"][0]["weight"] = 0
    assert problems_in(Document.model_validate({**fields, "zones": plan.document.zones})) == []
    assert len(list(endangered(plan_of(fields), status_of(), NOW))) == 1
    until = {"id": "o", "country": "DE", "regions": ["iad"], "mode": "only"}
    for expires_at, count in (("2026-11-30T00:00:00Z", 1), ("2026-11-01T00:00:00Z", 0)):
        over = _document(domains=domains, overrides=[until | {"expires_at": expires_at}])
        assert len(list(endangered(plan_of(over), status_of(), NOW))) == count


def test_transceivers_are_each_alone() -> None:
    media = {"id": "eu", "latitude": 50, "longitude": 8}
    ends = [
        {
            "id": f"eu-{n}",
            "region": "eu",
            "host": "192.0.2.1",
            "port": n,
            "signalling_ipv4": "192.0.2.1",
        }
        for n in (1, 2)
    ]
    service = {"id": "s", "name": "s.edge.example.", "pool": "transceivers", "min_candidates": 2}
    for count in (1, 2):
        document = {
            "transceiver_regions": [media],
            "transceivers": ends[:count],
            "services": [service],
        }
        plan = plan_of(document)
        found = [each for each in problems_in(plan.document) if each.field == FIELD]
        assert len(found) == 2 - count
        assert len(list(endangered(plan, status_of(), NOW))) == 2 - count
