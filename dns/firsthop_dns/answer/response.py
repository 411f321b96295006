"""A response before encoding."""

from __future__ import annotations

from typing import NamedTuple

from firsthop_dns.answer import rate_limit as limits
from firsthop_dns.wire.edns import NOERROR, NXDOMAIN, YXDOMAIN


class Response(NamedTuple):
    """Rcode, AA, counts of answer, authority and additional records, and their octets.

    `spare` is the number of further additional records, from offset `spare_at` of `octets` on,
    which are left out if they do not fit.
    """

    rcode: int
    authoritative: bool
    answers: int = 0
    authorities: int = 0
    additionals: int = 0
    octets: bytes = b""
    spare: int = 0
    spare_at: int = 0
    error: int | None = None
    """An extended error (RFC 8914)."""
    truncated: bool = False
    tailored: bool = False
    """Whether it depends on the client subnet, so resolvers ask once for each network."""

    def with_spare(self) -> Response:
        """The response with its spare records as additional ones."""
        return self._replace(additionals=self.additionals + self.spare, spare=0)

    def without_spare(self) -> Response:
        """The response without its spare records."""
        return self._replace(octets=self.octets[: self.spare_at], spare=0)


def kind_of(outcome: Response) -> int:
    """The class that the rate limit counts an outcome in."""
    if outcome.rcode not in (NOERROR, NXDOMAIN, YXDOMAIN):
        return limits.ERROR
    if outcome.tailored:
        return limits.TAILORED
    if outcome.answers or outcome.truncated:
        return limits.ANSWER
    return limits.NEGATIVE if outcome.authoritative else limits.REFERRAL
