"""Options of commands that must start fast: argparse, with an environment variable for each."""

from __future__ import annotations

import os
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from firsthop.addresses import Listen, parse_listen

_YES, _NO = {"1", "true", "t", "yes", "y", "on"}, {"0", "false", "f", "no", "n", "off", ""}


def option(
    options: ArgumentParser,
    flag: str,
    variable: str,
    meaning: str,
    *,
    read: Callable[[str], Any] = str,
    default: Any = None,
    required: bool = False,
) -> None:
    """Adds an option with a value, which may be repeated if `read` returns a list.

    An empty environment variable counts as unset.
    """
    given = os.environ.get(variable) or None
    options.add_argument(
        flag,
        type=read,
        action=_Gathered,
        default=default if given is None else given,
        required=required and given is None,
        metavar=flag.removeprefix("--").replace("-", "_").upper(),
        help=f"{meaning} [{variable}]",
    )


def switch(options: ArgumentParser, flag: str, variable: str, meaning: str) -> None:
    """Adds an option without a value."""
    given = os.environ.get(variable, "").lower()
    if given not in _YES | _NO:
        options.error(f"{variable}: must be true or false, not {given!r}")
    default = given in _YES
    options.add_argument(flag, action="store_true", default=default, help=f"{meaning} [{variable}]")


class _Gathered(Action):
    """Appends to lists from the command line, but replaces the default (the environment's)."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None
    ) -> None:
        held = getattr(namespace, self.dest)
        several = isinstance(values, list) and held is not self.default
        setattr(namespace, self.dest, [*held, *values] if several else values)


def listen_list(text: str) -> list[Listen]:
    """Parses comma-separated addresses. Raises ArgumentTypeError."""
    try:
        return parse_listen(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def number(
    kind: type[int] | type[float], minimum: float, maximum: float = float("inf")
) -> Callable[[str], Any]:
    """A parser for numbers within these bounds."""

    def read(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a number") from None
        if not minimum <= value <= maximum:
            bounds = (
                f"{minimum:g} or more" if maximum == float("inf") else f"{minimum:g} to {maximum:g}"
            )
            raise ArgumentTypeError(f"must be {bounds}, not {text}")
        return value

    return read
