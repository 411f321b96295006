"""TLS contexts for checks, reasons of failed handshakes, and expiry of certificates."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509

from firsthop_healthchecks.probes import Failed


@cache
def context(verify: bool) -> ssl.SSLContext:
    """A client context; with `verify` it checks the chain and the server's name."""
    made = ssl.create_default_context()
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def handshake_failed(error: ssl.SSLError) -> Failed:
    """OpenSSL's message, as its error numbers are not errno values."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failed(f"certificate: {error.verify_message}")
    message = (error.reason or "handshake failed").replace("_", " ").lower()
    return Failed(f"TLS: {message}")


def validity(der: bytes, now: datetime, min_valid_days: int) -> Failed | datetime:
    """The certificate's expiry if it is valid for `min_valid_days` more; else why it is not."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError:
        return Failed("certificate is not readable")
    if now >= last:
        return Failed(f"certificate expired on {last:%Y-%m-%d}")
    if now < first:
        return Failed(f"certificate is not valid before {first:%Y-%m-%d}")
    if now + timedelta(days=min_valid_days) >= last:
        return Failed(f"certificate expires on {last:%Y-%m-%d}, within {min_valid_days} days")
    return last
