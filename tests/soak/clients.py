"""Clients that ask as resolvers do: one address of the edges after the other until one answers."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Mapping

from field.asking import Query, ask_once
from field.namespaces import Place
from field.world import CLIENTS
from firsthop.up.demo import SERVICE
from soak.truth import Asked

PATIENCE_S = (0.4, 0.8, 1.6)
"""For one address, in the first round, the second, and the last."""
PAUSE_S = 0.03


class Resolver(threading.Thread):
    """One resolver with many clients behind it, until `end`."""

    def __init__(self, place: Place, edges: Mapping[str, str], seed: int) -> None:
        super().__init__(daemon=True)
        self.asked: list[Asked] = []
        self._place, self._edges, self._rng = place, dict(edges), random.Random(seed)
        self._ending = threading.Event()
        self._number = itertools.count(1)

    def end(self) -> None:
        """Ask no more."""
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Ask for one client after the other."""
        queries = {region: Query(SERVICE, subnet) for region, subnet in CLIENTS.items()}
        with self._place.entered():
            while not self._ending.wait(PAUSE_S):
                region = self._rng.choice(list(queries))
                self.asked.append(self._ask(region, queries[region]))

    def _ask(self, region: str, query: Query) -> Asked:
        start, edges = time.time(), self._rng.sample(sorted(self._edges), len(self._edges))
        for patience in PATIENCE_S:
            for edge in edges:
                began = time.time()
                number = next(self._number)
                address = ask_once(query, self._edges[edge], within_s=patience, number=number)
                if address:
                    return Asked(began, time.time(), region, edge, address)
                # Nobody listens: the next one is asked at once, but no round is over in no time.
                time.sleep(max(0.0, 0.1 - (time.time() - began)))
        return Asked(start, time.time(), region, "", "")
