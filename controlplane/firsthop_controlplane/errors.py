"""The package's errors: the caller causes `Refused`; we cause `Unavailable` and `NoLeader`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firsthop_zones.faults import MAX_FAULTS


class ControlPlaneError(Exception):
    """The root of this package's errors."""


class Unavailable(ControlPlaneError):  # noqa: N818 - a state, answered as 503
    """The store cannot be reached now; the same request may succeed later."""


class NoLeader(ControlPlaneError):  # noqa: N818 - as above
    """This replica does not lead, and the leader cannot be reached."""


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """One broken rule: the field's path and the rule, in words."""

    field: str
    rule: str


class Refused(ControlPlaneError):  # noqa: N818 - an answer, not a failure
    """A request that is answered with a problem document (RFC 9457)."""

    def __init__(
        self, status: int, kind: str, detail: str, errors: Sequence[BrokenRule] = ()
    ) -> None:
        """`kind` is the last part of the document's type; the status gives its title."""
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[object, ...]:
        """A refusal may come from another process."""
        return type(self), (self.status, self.kind, self.detail, self.errors)


class TooMany(Refused):
    """429: one caller reached a limit; it may repeat the request after a while."""

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(429, "too-many", detail)
        self.retry_after_s = retry_after_s


def malformed(detail: str, errors: Iterable[BrokenRule] = ()) -> Refused:
    """400: the request cannot be parsed."""
    return Refused(400, "malformed", detail, tuple(errors))


def forbidden(detail: str, errors: Iterable[BrokenRule] = ()) -> Refused:
    """403: the caller's token does not allow this."""
    return Refused(403, "forbidden", detail, tuple(errors))


def not_found(detail: str) -> Refused:
    """404: there is no such thing."""
    return Refused(404, "not-found", detail)


def conflict(detail: str, errors: Iterable[BrokenRule] = ()) -> Refused:
    """409: the request conflicts with the present state."""
    return Refused(409, "conflict", detail, tuple(errors))


def lost_race(detail: str) -> Refused:
    """412: If-Match names a version that is no longer the newest."""
    return Refused(412, "changed-meanwhile", detail)


def unconditional() -> Refused:
    """428: a change must name the version that it starts from."""
    return Refused(
        428,
        "if-match-required",
        "Send the ETag of the version that you read as If-Match, so that no one's change is lost.",
    )


def invalid(errors: Iterable[BrokenRule]) -> Refused:
    """422: the request can be parsed, but breaks the given rules; the first ones are listed."""
    faults = tuple(errors)
    detail = "; ".join(f"{fault.field}: {fault.rule}" for fault in faults[:3])
    if len(faults) > 3:
        detail += f"; and {len(faults) - 3} more"
    return Refused(422, "invalid", detail, faults[:MAX_FAULTS])
