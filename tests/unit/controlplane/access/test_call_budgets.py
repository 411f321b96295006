"""Budgets of calls: honest machines never reach them, floods do."""

from __future__ import annotations

import pytest

from firsthop_controlplane.access.call_budgets import BURST, REFILL_S, CallBudgets
from firsthop_controlplane.errors import TooMany, malformed


def test_a_prober_of_ten_thousand_relays_is_never_refused() -> None:
    """20 parts of 170 KB every second, for five minutes."""
    budgets = CallBudgets()
    for part in range(20 * 300):
        budgets.spend("prober", part / 20)
        budgets.charge("prober", part / 20, 170_000)


def test_wrong_bodies_use_up_a_budget_soon_and_it_comes_back() -> None:
    """A refused body of 1 MiB costs as much as 320 calls; other tokens are not affected."""
    budgets = CallBudgets()
    for _ in range(7):
        budgets.spend("agent", 0.0)
        budgets.charge("agent", 0.0, 2**20, malformed("x"))
    with pytest.raises(TooMany) as caught:
        budgets.spend("agent", 0.0)
    assert caught.value.retry_after_s > 0
    budgets.spend("viewer", 0.0)
    budgets.spend("agent", 2 * BURST * REFILL_S)
