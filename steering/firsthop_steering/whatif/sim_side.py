"""One side of a comparison of two steerings: where it sends the clients of one service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints, Keys
from firsthop_steering.compile.client_classes import ClientClasses
from firsthop_steering.compile.service_compiler import ServiceCompiler
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rendezvous import BUCKETS
from firsthop_steering.decision.topology import Pool
from firsthop_steering.plan.model import Family, Service
from firsthop_steering.whatif.sim_population import SimPopulation

Codes = npt.NDArray[np.int16]
"""Region numbers, or NOWHERE."""
NOWHERE = -1
"""The code of a client that gets no region."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The regions to which some populations are sent."""

    rows: Codes
    """Decisions × buckets: the region's code."""
    decisions: tuple[Ints, ...]
    """For each population the decision of each element, a row of `rows`."""
    columns: tuple[Ints, ...]
    """For each population the RTT column of each element."""


@dataclass(frozen=True, slots=True)
class SimSide:
    """One steering and one of its services; `service` is None if its plan has no such service."""

    steering: Steering
    service: Service | None

    @classmethod
    def of(cls, steering: Steering, name: str) -> SimSide:
        """The side for the service with that domain name."""
        services = steering.topology.services.values()
        return cls(steering, next((each for each in services if each.name == name), None))

    def asked(self, family: Family) -> SimSide:
        """This side as it answers with addresses of `family`."""
        if self.service is None:
            return self
        return replace(self, steering=self.steering.of(self.service, family))

    def only(self, family: Family) -> SimSide:
        """As `asked`, also if the service steers families together."""
        return replace(self, steering=self.steering.only(family))

    @property
    def families_differ(self) -> bool:
        """Whether some regions of the service lack a family that others have."""
        return self.service is not None and self.steering.families_differ(self.service)

    @property
    def separates(self) -> bool:
        """Whether the two families may be answered with different regions."""
        return self.service is not None and self.steering.separates(self.service)

    @property
    def pool(self) -> Pool:
        return "relays" if self.service is None else self.service.answer_pool

    def split_ranges(self, family: Literal[4, 6]) -> tuple[Keys, Keys]:
        """Like `ClientClasses.split_ranges`; empty if there is no service."""
        if self.service is None:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        return ClientClasses(self.steering, self.service).split_ranges(family)

    def sends(self, populations: Sequence[SimPopulation], codes: Mapping[str, int]) -> Sent:
        """Decides for all clients; `codes` numbers the regions. All are NOWHERE if there is no
        service."""
        if self.service is None:
            nothing = tuple(np.zeros(len(each.cells), dtype=np.int64) for each in populations)
            rows: Codes = np.full((1, BUCKETS), NOWHERE, dtype=np.int16)
            return Sent(rows, nothing, nothing)
        classes = ClientClasses(self.steering, self.service)
        answers = ServiceCompiler(self.steering, self.service, classes.pool)
        mine = [each.within(classes) for each in populations]
        decisions = classes.decide(answers, np.concatenate(mine)).astype(np.int64)
        ends = np.cumsum([len(each) for each in mine])[:-1]
        columns = tuple(classes.columns(each) for each in mine)
        return Sent(_rows(answers, codes), tuple(np.split(decisions, ends)), columns)

    def capacity(self, region: str) -> int | None:
        """Sessions that the relays of a region that are up can carry; None if one of them states no
        capacity."""
        if self.service is None or self.pool != "relays":
            return None
        sites = [site.id for site in self.steering.topology.pools["relays"]]
        if region not in sites:
            return None
        up = self.steering.candidates_up(self.service, "relays").up[sites.index(region)]
        stated = {r.id: r.capacity for r in self.steering.topology.plan.document.relays}
        found = [stated[each.id] for each in up]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None


def _rows(answers: ServiceCompiler, codes: Mapping[str, int]) -> Codes:
    of_answer = [codes[each.region] if each.region else NOWHERE for each in answers.answers]
    named = np.array([*of_answer, NOWHERE], dtype=np.int16)
    decisions = np.array(answers.decisions, dtype=np.int64)
    rows = np.repeat(named[np.maximum(decisions, -1)][:, None], BUCKETS, axis=1)
    for decision in np.flatnonzero(decisions < -1).tolist():
        rows[decision] = named[answers.rows[-2 - decisions[decision]]]
    return rows
