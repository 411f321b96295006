"""Bodies are validated with bounded work, and faults of long lists keep their paths."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from firsthop_controlplane.bodies.documents import Changeset, SimulationRequest
from firsthop_controlplane.bodies.json_text import MAX_KEYS, check_size, parse_object
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.errors import Refused
from firsthop_steering.feed.reports import ProbeReport, RelayReport
from firsthop_zones.faults import MAX_FAULTS

NOW = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
VIEW = {"relay": "fra", "verdict": "up", "since": NOW, "checked_at": NOW}
REPORT = {"prober": "a", "vantage": "a", "sent_at": NOW}


def refused(model: type[Any], value: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        validated(model, value)
    return caught.value


def fields(refusal: Refused) -> list[str]:
    return [each.field for each in refusal.errors]


def test_a_long_list_of_faults_ends_with_the_first_ones() -> None:
    """An attacker's list costs one slice."""
    found = refused(ProbeReport, REPORT | {"views": [{}] * 3_000})
    assert len(found.errors) == MAX_FAULTS
    assert fields(found)[:2] == ["views/0/relay", "views/0/verdict"]
    found = refused(SimulationRequest, {"document": {"regions": [{}] * 3_000}})
    assert fields(found)[:2] == ["document/regions/0/id", "document/regions/0/latitude"]
    found = refused(Changeset, {"document": {"zones": [{"records": ["x"] * 3_000}]}})
    assert len(found.errors) == MAX_FAULTS
    assert fields(found)[0] == "document/zones/0/records/0"
    found = refused(SimulationRequest, {"clients": [7] * 3_000})
    assert fields(found)[:2] == ["clients/0", "clients/1"]


def test_a_fault_deep_in_a_long_list_keeps_its_path() -> None:
    """Slices do not show in the answer."""
    views: list[dict[str, Any]] = [VIEW] * 3_000
    views[2_500] = VIEW | {"relay": "NO SLUG"}
    assert fields(refused(ProbeReport, REPORT | {"views": views})) == ["views/2500/relay"]
    assert len(validated(ProbeReport, REPORT | {"views": [VIEW] * 3_000}).views) == 3_000


def test_a_list_that_is_too_long_is_not_looked_at() -> None:
    """Its length is the only fault."""
    found = refused(ProbeReport, REPORT | {"views": [{}] * 4_001})
    assert fields(found) == ["views"]
    assert "4,001 views" in found.errors[0].rule


def test_an_object_has_so_many_keys() -> None:
    """Unknown keys are faults, each with its name."""
    keys = {f"k{number}": 1 for number in range(MAX_KEYS + 1)}
    with pytest.raises(Refused) as caught:
        parse_object(json.dumps(keys).encode())
    assert f"{MAX_KEYS + 1} keys" in caught.value.detail
    keys.popitem()
    assert len(refused(RelayReport, keys).errors) == MAX_FAULTS
    name = "x" * 100_000
    found = refused(RelayReport, {"sequence": 1, "sent_at": NOW, name: 1})
    assert len(found.errors[0].field) < 100


@pytest.mark.parametrize(
    "raw",
    [
        b'{"views":[' + b",".join([b"{}"] * 100_000) + b"]}",
        b'{"views":[' + b",".join([b"0"] * 100_000) + b"]}",
        b'{"views":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_would_take_long_to_parse_is_refused_by_its_size(raw: bytes) -> None:
    """Before it is parsed."""
    with pytest.raises(Refused) as caught:
        check_size(raw)
    assert caught.value.status == 413


def test_a_refusal_comes_whole_from_another_process() -> None:
    """The child that checks documents answers with refusals."""
    found = refused(RelayReport, {})
    again = pickle.loads(pickle.dumps(found))
    assert (again.status, again.kind, again.detail, again.errors) == (
        *(found.status, found.kind, found.detail),
        found.errors,
    )
