"""Coverage-guided fuzzing of parser and responder; needs `pip install atheris` (not for the tests).

    python tests/fuzz/respond.py CORPUS_FOLDER -max_total_time=600 -max_len=600

What must hold for any octets: nothing raises, both lanes agree, requests = responses + drops, a UDP
reply has at most 1,232 octets, an error no more than its query and an OPT; dnspython reads every
reply. What it finds becomes a case of `tests/unit/dns/answer/test_lanes.py`.
"""

# ruff: noqa: E402  (as in bench/dns.py)

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[0] = str(TESTS)
sys.path.insert(1, str(TESTS.parent))

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["firsthop_dns"]):
    from firsthop_dns.answer.respond import respond, respond_strictly

import dns.exception
import dns.message

from firsthop_dns.answer.client_keys import UDP6
from wire import sample
from wire.corpus import corpus

PEERS = (("127.0.0.1", 53), ("2001:db8::1", 53, 0, 0), ("192.0.2.9", 1), ("::1", 9, 0, 0))
LONGEST_OPT = 11 + 28 + 6 + 20 + 6
"""With cookie, extended error, client subnet and keepalive."""


def main() -> None:
    """Until libFuzzer's limits are reached, or something is wrong."""
    compiled = sample.compiled(Path(tempfile.mkdtemp()))
    lanes = [(act, sample.tables(compiled, rate_limit=0)) for act in (respond, respond_strictly)]

    def one(data: bytes) -> None:
        if not data:
            return
        transport, packet = data[0] & 3, data[1:]
        fast, slow = (
            act(packet, PEERS[transport], tables, 1_700_000_000.0, transport)
            for act, tables in lanes
        )
        assert fast == slow
        if fast is None:
            assert len(packet) < 12 or packet[2] & 0x80
            return
        assert fast[:2] == packet[:2]
        assert transport > UDP6 or len(fast) <= 1232
        assert fast[3] & 0xF in (0, 3, 6, 9) or len(fast) <= max(len(packet), 12) + LONGEST_OPT
        dns.message.from_wire(fast, keyring=False)

    folder = next((Path(each) for each in sys.argv[1:] if not each.startswith("-")), None)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for number, packet in enumerate(corpus(2000)):
            (folder / f"seed-{number}").write_bytes(bytes([number & 3]) + packet.octets)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
