"""Which changes would send a client to another region: each obstacle, and how to remove it.

Every change is verified by repeating the decision with it. Changes name a field of the document;
obstacles that only measurement can remove are reported as status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from firsthop_steering.decision.charges import charged_us, relief_levels
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.model import Candidate
from firsthop_steering.decision.rendezvous import kept_buckets, tie_draws
from firsthop_steering.decision.topology import Client
from firsthop_steering.plan.model import Family, Service, State
from firsthop_steering.whatif.hypothetical import Hypothetical

MAX_BIAS_MS = 500.0


@dataclass(frozen=True, slots=True)
class NeededChange:
    """One field that keeps the client from the region; `needed` is None if no value would help."""

    object: str
    """Path of the object, like `regions/ams`."""
    field: str
    value: Any
    needed: Any
    because: str


def counterfactual(
    steering: Steering,
    service: Service,
    client: Client,
    region: str,
    family: Family | None = None,
) -> dict[str, Any]:
    """The changes with which the client would be answered with `region`, as JSON.

    `family` is that of the addresses asked for; None: the client's own. `region` must be a region
    of the service's pool. All `changes` are needed together; the list is empty if the client is
    sent there already. `enough` is whether they suffice; if not, one of them states why.
    `instead_of_bias` is a price with the same effect as the change of the bias.
    """
    question = Hypothetical(steering, service.id, client, region, family)
    changes: list[NeededChange] = []
    price: NeededChange | None = None
    for obstacle, after in _obstacles(question):
        changes.append(obstacle)
        question = after
    decision = question.decide()
    mine = next((each for each in decision.preferences if each.site.id == region), None)
    if mine is not None and decision.chosen is not None and not question.holds:
        gap = _gap_us(mine, decision.preferences[decision.chosen], decision.bucket)
        price = _price(mine, gap, decision.bucket)
        bias, question = _bias(question, mine, gap)
        changes.append(bias)
    enough = question.holds
    needed_changes = [each for each in changes if each.needed is not None or not enough]
    return {
        "region": region,
        "changes": [asdict(each) for each in needed_changes],
        "instead_of_bias": asdict(price) if price else None,
        "enough": enough,
    }


def _obstacles(question: Hypothetical) -> Iterator[tuple[NeededChange, Hypothetical]]:
    """Yields each obstacle other than the score, and the question with it removed."""
    for find in _FINDERS:
        while not question.holds and (found := find(question)) is not None:
            yield found
            if found[0].needed is None:
                break
            question = found[1]


_Found = tuple[NeededChange, Hypothetical] | None


def _service(question: Hypothetical) -> _Found:
    allowed = question.hypothetical_service.regions
    if allowed is None or question.region in allowed:
        return None
    needed = (*allowed, question.region)
    change = NeededChange(
        f"services/{question.service}", "regions", list(allowed), list(needed),
        "the service does not allow it",
    )  # fmt: skip
    return change, question.changed("services", question.service, regions=needed)


def _override(question: Hypothetical) -> _Found:
    rule = question.decide().ranking.rule
    if rule is None or (rule.mode == "avoid") != (question.region in rule.regions):
        return None
    if rule.mode == "prefer":
        return None
    if rule.mode == "only":
        return _reordered(question, f"override {rule.id} allows only {', '.join(rule.regions)}")
    needed = tuple(each for each in rule.regions if each != question.region)
    because = f"override {rule.id} avoids it"
    name, value = f"overrides/{rule.id}", list(rule.regions)
    if not needed:
        gone = question.without_override(rule.id)
        return NeededChange(name, "", value, "deleted", because), gone
    after = question.changed("overrides", rule.id, regions=needed)
    return NeededChange(name, "regions", value, list(needed), because), after


def _state(question: Hypothetical) -> _Found:
    site = question.site
    if site.state is State.ACTIVE:
        return None
    change = NeededChange(
        f"{question.collection}/{site.id}", "state", site.state.value, State.ACTIVE.value,
        f"its state is {site.state}",
    )  # fmt: skip
    return change, question.changed(question.collection, site.id, state=State.ACTIVE)


def _idle(question: Hypothetical) -> _Found:
    """Operators must have enabled at least one endpoint."""
    site = question.site
    if any(each.active for each in site.endpoints):
        return None
    if not site.endpoints:
        name = f"{question.collection}/{site.id}"
        return NeededChange(name, question.endpoints, [], None, "it has no endpoints"), question
    first = max(site.endpoints, key=lambda each: each.weight)
    after = question.changed(question.endpoints, first.id, state=State.ACTIVE)
    name, because = f"{question.endpoints}/{first.id}", "none of its endpoints is active"
    return NeededChange(name, "state", "not active", State.ACTIVE.value, because), after


def _idle_by_weight(question: Hypothetical) -> _Found:
    active = [each for each in question.site.endpoints if each.active]
    if not active or any(each.weight for each in active):
        return None
    after = question.changed(question.endpoints, active[0].id, weight=1)
    name, because = f"{question.endpoints}/{active[0].id}", "its active endpoints have no weight"
    return NeededChange(name, "weight", 0, 1, because), after


def _family(question: Hypothetical) -> _Found:
    """An enabled endpoint must have an address of the family that is asked for."""
    service, pool, at = question.hypothetical_service, question.pool, question.index
    enabled = question.steering.candidates_up(service, pool).configured[at]
    if not enabled or question.mine.candidates_up(service, pool).configured[at]:
        return None
    because = "the service steers families separately, and none of its endpoints has this one"
    family = str(question.mine.family)
    change = NeededChange(f"{question.endpoints}/{enabled[0].id}", family, None, None, because)
    return change, question


def _down(question: Hypothetical) -> _Found:
    """At least one enabled endpoint must be up, unless health is ignored."""
    available = question.mine.candidates_up(question.hypothetical_service, question.pool)
    wanted = available.configured[question.index]
    if available.up[question.index] or not wanted or question.ignores_health:
        return None
    availability = available.availabilities[wanted[0].id]
    status = (
        availability.verdict
        if availability.accepts_sessions or availability.verdict == "down"
        else "takes no new sessions"
    )
    change = NeededChange(
        f"{question.endpoints}/{wanted[0].id}", "status", status, "up",
        "none of its endpoints is up",
    )  # fmt: skip
    return change, question.found_up(wanted[0].id)


def _weight(question: Hypothetical) -> _Found:
    """The lowest weight that keeps the client's bucket; another region may still rank higher."""
    site, drawn = question.site, question.decide().bucket
    if _keeps(question, drawn):
        return None
    name = f"{question.collection}/{site.id}"
    because = f"weight {site.weight} does not keep this client's prefix"
    for weight in range(site.weight + 1, 101):
        if kept_buckets(site.id, weight)[drawn]:
            after = question.changed(question.collection, site.id, weight=weight)
            if _keeps(after, drawn):
                return NeededChange(name, "weight", site.weight, weight, because), after
    because += ", and it starts slowly"
    return NeededChange(name, "weight", site.weight, None, because), question


def _keeps(question: Hypothetical, drawn: int) -> bool:
    weights = question.mine.weights(
        question.hypothetical_service, question.pool, ignore_health=question.ignores_health
    )
    return bool(kept_buckets(question.region, weights[question.index])[drawn])


def _tier(question: Hypothetical) -> _Found:
    """An override that prefers other regions outranks any bias."""
    decision = question.decide()
    mine = next((each for each in decision.preferences if each.site.id == question.region), None)
    if mine is None or decision.chosen is None or decision.ranking.rule is None:
        return None
    if mine.tier <= decision.preferences[decision.chosen].tier:
        return None
    ahead = decision.preferences[decision.chosen].site.id
    return _reordered(question, f"override {decision.ranking.rule.id} puts {ahead} before it")


def _reordered(question: Hypothetical, because: str) -> _Found:
    """Moves the region to the front of the list of the override that applies."""
    rule = question.decide().ranking.rule
    assert rule is not None
    others = tuple(each for each in rule.regions if each != question.region)
    needed = (question.region, *others)
    change = NeededChange(
        f"overrides/{rule.id}", "regions", list(rule.regions), list(needed), because
    )
    return change, question.changed("overrides", rule.id, regions=needed)


def _gap_us(mine: Candidate, chosen: Candidate, drawn: int) -> int:
    """Microseconds by which the score must fall to rank before the chosen region."""
    scores = [each.base_us + each.charged_us(drawn) for each in (mine, chosen)]
    wins_ties = tie_draws(mine.site.id)[drawn] < tie_draws(chosen.site.id)[drawn]
    return scores[0] - scores[1] + (0 if wins_ties else 1)


def _bias(question: Hypothetical, mine: Candidate, gap: int) -> tuple[NeededChange, Hypothetical]:
    is_now, needed = mine.site.bias_us / 1000, (mine.site.bias_us + gap) / 1000
    name = f"{question.collection}/{mine.site.id}"
    because = f"its score is {gap / 1000:g} ms too high for this client"
    if needed > MAX_BIAS_MS:
        because += f", and no bias is more than {MAX_BIAS_MS:g} ms"
        return NeededChange(name, "bias_ms", is_now, None, because), question
    after = question.changed(question.collection, mine.site.id, bias_ms=needed)
    return NeededChange(name, "bias_ms", is_now, needed, because), after


def _price(mine: Candidate, gap: int, drawn: int) -> NeededChange | None:
    """The highest price, up to the present one, at which the client would be sent here."""
    level = int(relief_levels(mine.site.id)[drawn])
    allowed = mine.charged_us(drawn) - gap
    if allowed < 0:
        return None
    low, high = 0, mine.price_us
    while low < high:
        middle = (low + high + 1) // 2
        if charged_us(middle, level) <= allowed:
            low = middle
        else:
            high = middle - 1
    return NeededChange(
        f"regions/{mine.site.id}", "price_ms", mine.price_us / 1000, low / 1000,
        "the planner charges it",
    )  # fmt: skip


_FINDERS = (
    _service, _override, _state, _idle, _idle_by_weight, _family, _down, _weight, _tier,
)  # fmt: skip
