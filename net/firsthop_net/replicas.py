"""Which replica of a control plane is asked: one until it fails, then the next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence


class Replicas:
    """Roots of the replicas' APIs, without `/v1`."""

    def __init__(self, urls: Sequence[str], *, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives a number in [0, 1): which replica is the first."""
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._at = int(chance() * len(self.urls))

    @property
    def url(self) -> str:
        """The replica that is asked next."""
        return self.urls[self._at]

    def failed(self, url: str) -> None:
        """Go on to the next one; two calls that fail at once at one replica move on by one."""
        if url == self.url:
            self._at = (self._at + 1) % len(self.urls)
