"""One test over many random worlds: a case for each would cost more than what it does."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from functools import wraps
from typing import Any


def random_worlds(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test with `rng`, once for each seed from 0 on; a failure names its seed."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(**fixtures: Any) -> None:
            for seed in range(count):
                try:
                    test(rng=random.Random(seed), **fixtures)
                except BaseException as error:
                    error.add_note(f"in the random world of seed {seed}")
                    raise

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name != "rng"]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate
