"""The DTLS handshake of a session, with whatever certificate the peer has; no sockets."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import aiortc.rtcpeerconnection
import pytest
from aiortc.rtcdtlstransport import SRTP_PROFILES
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

import firsthop_relay.transceiver.aiortc_ice  # noqa: F401 - replaces aiortc's certificate

PROFILES = b"SRTP_AES128_CM_SHA1_80"
FLIGHTS = 20
"""More than a handshake without loss has."""

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())


def peer(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, ciphers: bytes) -> SSL.Connection:
    """A DTLS server with a certificate of `key`, as a browser has it after an actpass offer."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_cipher_list(ciphers)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_tlsext_use_srtp(PROFILES)
    made = SSL.Connection(context)
    made.set_accept_state()
    return made


def transceiver() -> SSL.Connection:
    """The DTLS client that a session has."""
    certificate = aiortc.rtcpeerconnection.RTCCertificate.generateCertificate()  # type: ignore[attr-defined]
    made = SSL.Connection(certificate._create_ssl_context(SRTP_PROFILES))
    made.set_connect_state()
    return made


def shake_hands(one: SSL.Connection, other: SSL.Connection) -> None:
    """Exchange flights until both ends are done. Raises SSL.Error if one refuses the other."""
    ends = [one, other]
    for _ in range(FLIGHTS):
        waiting = False
        for end, far in (ends, reversed(ends)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                waiting = True
            with contextlib.suppress(SSL.WantReadError):
                far.bio_write(end.bio_read(65536))
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize(
    ("key", "ciphers"),
    [
        (P256, b"DEFAULT"),
        (P384, b"DEFAULT"),
        (RSA, b"DEFAULT"),
        (SMALL_RSA, b"DEFAULT:@SECLEVEL=0"),
        (P256, b"ECDHE-ECDSA-AES256-GCM-SHA384"),
        (RSA, b"ECDHE-RSA-AES128-GCM-SHA256"),
        (RSA, b"ECDHE-RSA-AES256-GCM-SHA384"),
        (RSA, b"ECDHE-RSA-CHACHA20-POLY1305"),
        (RSA, b"ECDHE-RSA-AES128-SHA"),
        (RSA, b"ECDHE-RSA-AES256-SHA"),
    ],
)
def test_a_peer_may_have_an_rsa_certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, ciphers: bytes
) -> None:
    """GStreamer's webrtcbin has one, and Chromium on request; both ends agree on SRTP keys."""
    here, there = transceiver(), peer(key, ciphers)
    shake_hands(here, there)
    assert here.get_selected_srtp_profile() == there.get_selected_srtp_profile() == PROFILES
