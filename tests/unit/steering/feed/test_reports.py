"""Bounds on what machines report of themselves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from firsthop_steering.feed.reports import MAX_SESSIONS, RelayReport, TransceiverReport
from support.worlds import NOW


@pytest.mark.parametrize("model", [RelayReport, TransceiverReport])
def test_a_machine_reports_no_more_sessions_than_one_can_carry(
    model: type[RelayReport | TransceiverReport],
) -> None:
    """Else one stolen token makes any load of its region, where relays state no capacity."""
    report = {"sequence": 1, "sent_at": NOW}
    assert model.model_validate({**report, "sessions": MAX_SESSIONS})
    with pytest.raises(ValidationError, match="sessions"):
        model.model_validate({**report, "sessions": MAX_SESSIONS + 1})
