"""The flow journal: restores flows after a crash, with the same upstream ports.

A memory-mapped file of fixed slots. Writing only changes memory: the kernel keeps it when the
process dies, and no write waits for a disk. Records that are torn, old or of an earlier boot are
ignored; without them a relay learns its flows again from the next checks.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from firsthop_relay.flows.flow import ClientSockaddr, Flow, ListenerFlows
from firsthop_relay.survival.flow_record import (
    RECORD_SIZE,
    FlowRecord,
    ListenerAddress,
    decode,
    encode,
)
from firsthop_relay.survival.server_flows import boot_time, record_of

_MAGIC = b"firsthop flows 1"
_HEADER = 64
_EMPTY = bytes(RECORD_SIZE)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK_WITHIN_S = 5.0
LOCK_PAUSE_S = 0.01


class JournalError(Exception):
    """A journal that cannot be opened; the message names the file and the fault."""


def _check_ours(status: os.stat_result) -> None:
    """Raise PermissionError if other users can write the file, and so divert flows."""
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "must be a file that only the relay's user can write")


class Journal:
    """One file of one worker, locked while it is open; `slots` is how many flows it holds."""

    def __init__(
        self,
        path: Path,
        slots: int,
        *,
        boot_id: bytes | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """Open or create the file; blocks for up to LOCK_WITHIN_S. Raises JournalError."""
        self._clock = clock
        self._addresses: dict[ListenerFlows, ListenerAddress] = {}
        self._slot_of: dict[tuple[ListenerFlows, ClientSockaddr], int] = {}
        self._owner: dict[int, Flow] = {}
        header = _MAGIC + (boot_id or BOOT_ID.read_bytes().strip()[:36])
        header = (header + slots.to_bytes(4, "big")).ljust(_HEADER, b"\0")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                _check_ours(os.fstat(self._file))
                self._lock()
                self._map = self._mapped(header, _HEADER + slots * RECORD_SIZE)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error
        self._free = list(reversed(range(slots)))

    def _lock(self) -> None:
        """Wait up to LOCK_WITHIN_S, as a predecessor may be about to end."""
        deadline = time.monotonic() + LOCK_WITHIN_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_PAUSE_S)
            else:
                return

    def _mapped(self, header: bytes, size: int) -> mmap.mmap:
        if os.fstat(self._file).st_size != size or os.pread(self._file, _HEADER, 0) != header:
            os.ftruncate(self._file, 0)  # another boot, size or format: start empty
            os.posix_fallocate(self._file, 0, size)  # a full disk shows here, not as SIGBUS later
            os.pwrite(self._file, header, 0)
        return mmap.mmap(self._file, size)

    def records(self) -> Iterator[FlowRecord]:
        """The records of an earlier process; their slots are free from now on."""
        for at in range(_HEADER, len(self._map), RECORD_SIZE):
            slot = self._map[at : at + RECORD_SIZE]
            if slot != _EMPTY:
                self._map[at : at + RECORD_SIZE] = _EMPTY
                record = decode(slot)
                if record is not None:
                    yield record

    def serve(self, listener: ListenerFlows, address: ListenerAddress) -> None:
        """Keep flows of this UDP listener; flows over TCP end with the process."""
        self._addresses[listener] = address

    def keep(self, flow: Flow) -> None:
        """Write the flow; it replaces an earlier one of its source."""
        if flow.listener not in self._addresses:
            return
        key = flow.listener, flow.source
        slot = self._slot_of.get(key)
        if slot is None:
            if not self._free:
                return
            slot = self._slot_of[key] = self._free.pop()
        self._owner[slot] = flow
        self._write(slot, flow)

    def touch(self, flow: Flow) -> None:
        """Write that its client was recently active."""
        slot = self._slot_of.get((flow.listener, flow.source))
        if slot is not None and self._owner[slot] is flow:
            self._write(slot, flow)

    def forget(self, flow: Flow) -> None:
        """Remove the flow, if it is there."""
        key = flow.listener, flow.source
        slot = self._slot_of.get(key)
        if slot is None or self._owner[slot] is not flow:
            return
        del self._slot_of[key], self._owner[slot]
        self._put(slot, _EMPTY)
        self._free.append(slot)

    def close(self) -> None:
        """Unlock; the records stay."""
        self._map.close()
        os.close(self._file)

    def _write(self, slot: int, flow: Flow) -> None:
        record = record_of(flow, self._addresses[flow.listener], now=self._clock())
        self._put(slot, encode(record))

    def _put(self, slot: int, data: bytes) -> None:
        at = _HEADER + slot * RECORD_SIZE
        self._map[at : at + RECORD_SIZE] = data
