"""The transport problem as a linear programme, by HiGHS: the optimum that prices are held against.

    minimise   sum f_gr cost_gr + OVERLOAD_MS sum over_r
    subject to sum_r f_gr = demand_g,   sum_g f_gr - over_r <= limit_r,   f, over >= 0

The dual of a region's row is what one more place there would save: its price. Most pairs of group
and region are never used, so they come in only as their reduced costs ask for it (column
generation): the optimum is that of the whole programme.

The planner's loop does without: the duals alone overload (all of a group on the margin goes to one
side), and Newton's method is there sooner. Tests and `bench/steering.py` compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats
from firsthop_steering.planner.problem import MAX_PRICE_MS, TransportProblem

NEAR_MS = 4.0
"""Pairs that come in at first: as good as the group's best at the starting prices, or nearly."""
EXACT_MS = 1e-4
MAX_S = 120.0
"""For one solution."""
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Optimum:
    """Every region's price in ms, and what a client costs in the mean (overload included)."""

    prices: Floats
    mean_ms: float


def optimum(problem: TransportProblem, start: Floats) -> Optimum:
    """The optimum; `start` are prices near which to look first. Raises RuntimeError
    where there is none."""
    score = problem.cost_ms + start
    inside = score <= score.min(axis=1, keepdims=True) + NEAR_MS
    prices, worth = start, np.zeros(len(problem.demand))
    for _ in range(_ROUNDS):
        prices, worth = _solve(problem, inside)
        missing = (problem.cost_ms + prices - worth[:, None] < -EXACT_MS) & ~inside
        if not missing.any():
            break
        inside |= missing
    spent = float(worth @ problem.demand - prices @ problem.limits)  # by strong duality
    return Optimum(np.clip(prices, 0.0, MAX_PRICE_MS), spent / float(problem.demand.sum()))


def _solve(problem: TransportProblem, inside: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The duals of regions (as prices) and of groups, with the pairs of a mask."""
    groups, regions = problem.cost_ms.shape
    group, region = np.nonzero(inside)
    unit = max(float(problem.demand.mean()), 1e-12)
    flows, columns = len(group), len(group) + regions
    rows = np.column_stack([group, groups + region]).ravel()
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = columns, groups + regions
    model.col_cost_ = np.append(problem.cost_ms[group, region], np.full(regions, MAX_PRICE_MS))
    model.col_lower_ = np.zeros(columns)
    model.col_upper_ = np.full(columns, highspy.kHighsInf)
    model.row_lower_ = np.append(problem.demand / unit, np.full(regions, -highspy.kHighsInf))
    model.row_upper_ = np.append(problem.demand, problem.limits) / unit
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    starts = np.append(2 * np.arange(flows), 2 * flows + np.arange(regions + 1))
    model.a_matrix_.start_ = starts.astype(np.int32)
    model.a_matrix_.index_ = np.append(rows, groups + np.arange(regions)).astype(np.int32)
    model.a_matrix_.value_ = np.append(np.ones(2 * flows), np.full(regions, -1.0))
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", MAX_S)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS ends with {solver.getModelStatus()}")
    duals = np.asarray(solver.getSolution().row_dual)
    return -duals[groups:], duals[:groups]
