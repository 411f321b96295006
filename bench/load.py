"""A DNS load generator for one core: raw queries, each with its own ECS /24, every answer checked.

Pure Python. Datagrams are sent and received by `sendmmsg` and `recvmmsg` (ctypes) in preallocated
memory, and answers are checked with numpy after each lap, so the generator needs under 2 µs per
query and keeps even a C server busy. A window of queries is outstanding at any time; a query
unanswered for `LOSS_TIMEOUT_S` counts as lost and is repeated.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import dnslib
import numpy as np
import numpy.typing as npt

LOSS_TIMEOUT_S = 0.5
MAX_RETRIES = 5
ANSWER_BYTES = 512
"""Buffer size of one answer; longer ones count as wrong (right ones have some 90 octets)."""
SPARE_ANSWERS = 4096
"""Buffers for late answers of one lap, in addition to one per query."""
SOCKET_BUFFER = 4 << 20

_ECS = 8
_MSG_DONTWAIT = 0x40
_OPT_HEAD = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0b"  # root, OPT, 1232, no flags, 11 bytes
_ECS_HEAD = b"\x00\x08\x00\x07\x00\x01\x18\x00"  # option 8, 7 bytes, family 1, source 24, scope 0

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("hdr", _MsgHdr), ("len", ctypes.c_uint32))


_SIZE = ctypes.sizeof(_MMsgHdr)
_LEN = np.dtype(
    {
        "names": ["len"],
        "formats": [np.uint32],
        "offsets": [ctypes.sizeof(_MsgHdr)],
        "itemsize": _SIZE,
    }
)
_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg, _recvmmsg = _libc.sendmmsg, _libc.recvmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_recvmmsg.argtypes = (*_sendmmsg.argtypes, ctypes.c_void_p)


class _Datagrams:
    """An array of `mmsghdr` over the rows of a matrix."""

    def __init__(self, rows: Bytes) -> None:
        count, width = rows.shape
        self.rows = rows
        self._vectors = (_IoVec * count)()
        self._headers = (_MMsgHdr * count)()
        base, step = rows.ctypes.data, rows.strides[0]
        for index in range(count):
            self._vectors[index].base = base + index * step
            self._vectors[index].len = width
            self._headers[index].hdr.iov = ctypes.pointer(self._vectors[index])
            self._headers[index].hdr.iovlen = 1
        self._start = ctypes.addressof(self._headers)
        self.lengths = np.frombuffer(self._headers, dtype=_LEN)["len"]

    def at(self, index: int) -> int:
        """The address of a row's header."""
        return self._start + index * _SIZE


def wire_name(name: str) -> bytes:
    """A domain name of plain labels in wire form."""
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


@dataclass
class Tally:
    """Results of the queries so far."""

    answered: int = 0
    wrong: int = 0
    lost: int = 0
    """Queries unanswered within LOSS_TIMEOUT_S; each was repeated."""
    late: int = 0
    """Late answers to queries that were repeated."""
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)
    """Descriptions of the first few wrong answers."""

    def add(self, other: Tally) -> None:
        """Adds another tally."""
        self.answered += other.answered
        self.wrong += other.wrong
        self.lost += other.lost
        self.late += other.late
        self.seconds += other.seconds
        self.examples = (self.examples + other.examples)[:3]


class Load:
    """All queries of a case for one name, ready to be sent to any server.

    The query id is the index of the client, so at most 65,536 distinct clients are possible.
    """

    def __init__(
        self,
        name: str,
        networks: Sequence[int],
        addresses: Sequence[bytes],
        *,
        window: int = 128,
        spin: bool = True,
    ) -> None:
        """`networks` are /24s as 24-bit numbers, `addresses` the right answer of each, four octets.

        With `spin` the receiver polls, so that no server pays for waking it; without, it sleeps
        (for machines with one CPU).
        """
        if len(networks) > 1 << 16:
            raise ValueError("a query's id names its client: at most 65,536 of them")
        self.window, self._spin = window, spin
        self.count = len(networks)
        self.networks = networks
        question = wire_name(name) + b"\x00\x01\x00\x01"
        template = (
            b"\0\0" + b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01" + question + _OPT_HEAD + _ECS_HEAD
        )
        queries = np.tile(np.frombuffer(template + b"\0\0\0", np.uint8), (self.count, 1))
        ids = np.arange(self.count, dtype=">u2")
        queries[:, 0:2] = ids.view(np.uint8).reshape(-1, 2)
        clients = np.array(networks, dtype=">u4").view(np.uint8).reshape(-1, 4)
        queries[:, -3:] = clients[:, 1:]
        self.expected = np.array([list(each) for each in addresses], dtype=np.uint8)
        self._queries = _Datagrams(np.ascontiguousarray(queries))
        capacity = self.count + SPARE_ANSWERS
        self._answers = _Datagrams(np.zeros((capacity, ANSWER_BYTES), np.uint8))
        self._capacity = capacity
        self._question = np.frombuffer(question, np.uint8)

    def connect(self, port: int) -> socket.socket:
        """A UDP socket to a server on 127.0.0.1."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        sock.connect(("127.0.0.1", port))
        if not self._spin:
            sock.settimeout(LOSS_TIMEOUT_S)
        return sock

    def lap(self, sock: socket.socket, count: int, *, check: bool = True) -> Tally:
        """Sends the first `count` queries (at most all) once, and checks every answer."""
        count = min(count, self.count)
        tally = Tally()
        started = time.perf_counter()
        slots = self._exchange(sock, count, tally)
        tally.seconds = time.perf_counter() - started
        if check:
            self._check(slots, count, tally)
        else:
            tally.answered = count - len(self._missing(slots, count))
        return tally

    def _exchange(self, sock: socket.socket, count: int, tally: Tally) -> int:
        """Sends all queries until each is answered or given up; returns the number of answers."""
        fd = sock.fileno()
        sent = received = retries = 0
        target = count
        while True:
            sent, received = self._run(fd, sent, received, target, count)
            missing = self._missing(received, count)
            if not len(missing):
                return received
            if received == target:
                # Late answers occupy slots; wait for the outstanding ones.
                target = min(received + len(missing), self._capacity)
                if received == target:
                    raise RuntimeError("more late answers than there is room for")
                continue
            if retries == MAX_RETRIES:
                tally.wrong += len(missing)
                first = ", ".join(self.prefix(int(index)) for index in missing[:3])
                tally.examples.append(f"{len(missing)} never answered: {first}")
                return received
            retries += 1
            lost = missing[missing < sent]
            tally.lost += len(lost)
            for index in lost:
                _sendmmsg(fd, self._queries.at(int(index)), 1, 0)

    def _run(self, fd: int, sent: int, received: int, target: int, count: int) -> tuple[int, int]:
        """The hot loop: until `target` answers arrived, or none for LOSS_TIMEOUT_S."""
        query_at, answer_at, window = self._queries.at, self._answers.at, self.window
        send, receive, clock = _sendmmsg, _recvmmsg, time.perf_counter
        deadline = clock() + LOSS_TIMEOUT_S
        while received < target:
            room = min(window - (sent - received), count - sent)
            if room > 0:
                done = send(fd, query_at(sent), room, 0)
                if done > 0:
                    sent += done
            got = receive(fd, answer_at(received), min(window, target - received), _MSG_DONTWAIT, 0)
            if got > 0:
                received += got
                deadline = clock() + LOSS_TIMEOUT_S
                continue
            problem = ctypes.get_errno()
            if problem not in (errno.EAGAIN, errno.EINTR):
                raise OSError(problem, os.strerror(problem))
            if clock() > deadline:
                break
            if not self._spin:
                time.sleep(0.0002)
        return sent, received

    def _ids(self, slots: int) -> npt.NDArray[np.int64]:
        head = self._answers.rows[:slots, 0:2].astype(np.int64)
        return head[:, 0] << 8 | head[:, 1]

    def _missing(self, slots: int, count: int) -> npt.NDArray[np.int64]:
        seen = np.zeros(1 << 16, np.bool_)
        seen[self._ids(slots)] = True
        return np.flatnonzero(~seen[:count])

    def _check(self, slots: int, count: int, tally: Tally) -> None:
        """Counts right and wrong answers among the first `slots` received."""
        rows, ids = self._answers.rows[:slots], self._ids(slots)
        known = ids < count
        right = np.zeros(slots, np.bool_)
        right[known] = self._right(rows[known], self._answers.lengths[:slots][known], ids[known])
        for slot in np.flatnonzero(~right & known):
            right[slot] = self.right(self._answer(int(slot)), int(ids[slot]))
        wrong = np.flatnonzero(~right)
        answered = len(np.unique(ids[known]))
        tally.answered += answered
        tally.late += slots - answered
        tally.wrong += len(wrong)
        tally.examples += [self._described(int(slot), int(ids[slot])) for slot in wrong[:3]]

    def _right(
        self, rows: Bytes, lengths: npt.NDArray[np.uint32], ids: npt.NDArray[np.int64]
    ) -> Flags:
        """Mask of the right rows: AA, NOERROR, our question, one A record with the right address.

        Only for the usual layout (owner is a pointer to the question); dnslib checks others.
        """
        end = 12 + len(self._question)
        answer = rows[:, end : end + 16]
        good: Flags = lengths >= end + 16
        good &= (rows[:, 2] & 0xFE) == 0x84  # QR, opcode QUERY, AA, not TC; RD as it may be
        good &= (rows[:, 3] & 0x0F) == 0
        good &= (rows[:, 4:8] == (0, 1, 0, 1)).all(axis=1)
        good &= (rows[:, 12:end] == self._question).all(axis=1)
        good &= (answer[:, 0:6] == (0xC0, 12, 0, 1, 0, 1)).all(axis=1)
        good &= (answer[:, 10:12] == (0, 4)).all(axis=1)
        good &= (answer[:, 12:16] == self.expected[ids]).all(axis=1)
        return good

    def _answer(self, slot: int) -> bytes:
        return bytes(self._answers.rows[slot, : int(self._answers.lengths[slot])])

    def right(self, answer: bytes, index: int) -> bool:
        """Whether an answer of unusual layout is right, by dnslib, in some 100 µs."""
        try:
            message = dnslib.DNSRecord.parse(answer)
        except Exception:  # dnslib raises more than DNSError; an unreadable answer is wrong
            return False
        header = message.header
        found = [bytes(rr.rdata.data) for rr in message.rr if rr.rtype == dnslib.QTYPE.A]
        due = self.expected[index].tobytes()
        return bool(header.aa and not header.tc and header.rcode == 0 and found == [due])

    def _described(self, slot: int, index: int) -> str:
        try:
            text = str(dnslib.DNSRecord.parse(self._answer(slot))).replace("\n", " | ")
        except Exception as error:
            text = f"unreadable: {error}"
        if index >= self.count:
            return f"an id that was not asked: {text}"
        due = ".".join(map(str, self.expected[index]))
        return f"for {self.prefix(index)} expected {due}, got {text}"

    def query(self, index: int) -> bytes:
        """One query in wire form."""
        return bytes(self._queries.rows[index])

    def prefix(self, index: int) -> str:
        """The client of a query in presentation form."""
        network = self.networks[index]
        return f"{network >> 16}.{network >> 8 & 255}.{network & 255}.0/24"

    def scopes(self, sock: socket.socket, count: int) -> tuple[Counter[int], int]:
        """Sends `count` queries and reads ECS in the answers: scopes, and how many lack it.

        RFC 7871 §7.2.2: family, source prefix length and address come back as they were sent.
        """
        tally = Tally()
        slots = self._exchange(sock, min(count, self.count), tally)
        found: Counter[int] = Counter()
        bad = 0
        for slot, index in enumerate(self._ids(slots)):
            sent = self._queries.rows[int(index), -7:].tobytes()
            options = [
                bytes(option.data)
                for rr in dnslib.DNSRecord.parse(self._answer(slot)).ar
                if rr.rtype == dnslib.QTYPE.OPT
                for option in rr.rdata
                if option.code == _ECS
            ]
            if len(options) == 1 and options[0][:3] + options[0][4:] == sent[:3] + sent[4:]:
                found[options[0][3]] += 1
            else:
                bad += 1
        return found, bad
