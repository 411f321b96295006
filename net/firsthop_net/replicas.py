"""Which replica of a control plane is called: one until it fails, then the next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence


class Replicas:
    """The replicas' root URLs, without `/v1`, and the one in use."""

    def __init__(self, urls: Sequence[str], *, chance: Callable[[], float] = random.random) -> None:
        """`chance` returns a number in [0, 1), which selects the first replica."""
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._at = int(chance() * len(self.urls))

    @property
    def url(self) -> str:
        """The replica that is called next."""
        return self.urls[self._at]

    def failed(self, url: str) -> None:
        """Go on to the next replica; concurrent calls that fail at one replica do so only once."""
        if url == self.url:
            self._at = (self._at + 1) % len(self.urls)
