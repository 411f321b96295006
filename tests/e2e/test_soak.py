"""`make soak` for half a minute: a storm of faults, a lull, and what must hold all the while."""

from __future__ import annotations

import pytest

from field.world import Field
from soak.run import soak

pytestmark = [pytest.mark.e2e, pytest.mark.database, pytest.mark.xdist_group("deployment")]

SECONDS = 30.0
SEEDS = (11, 16)
"""Between them every kind of process fails; their relays are those of no other test."""
CONVERGE_S = 45.0
"""`make soak` has 10; other tests take the processors here."""


@pytest.mark.parametrize("seed", SEEDS)
def test_half_a_minute_of_chaos(field: Field, seed: int) -> None:
    """Every query is answered, no answer names a relay that is long dead, and all agree again."""
    soaked = soak(field, seed, SECONDS, converge_within_s=CONVERGE_S)
    assert soaked.findings.unanswered == ()
    assert soaked.findings.wrong == ()
    assert soaked.broken == {}
    assert len(soaked.spans) == len(soaked.faults) > 3
    assert soaked.findings.judged > 0, "no answer could have been wrong"
