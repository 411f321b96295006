"""Take-over: one process replaces another on the same state folder without losing a packet.

    successor                              predecessor
    connects to `edge.sock`            →
                                       ←   listening sockets, the lock, the listener of `edge.sock`
    its workers start to answer, too
    "ready", when all of them do       →
                                       ←   "yours", to one successor; then it drains and ends

Until "yours" the predecessor continues: a successor that fails or is killed does no harm. File
descriptors are passed as SCM_RIGHTS (unix(7)); the socket has mode 0600.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

Program = Literal["edge", "relay"]
"""Determines the files in the state folder: `edge.sock`, and `edge.lock`, which the running process
locks (flock); the lock is handed over with the sockets."""
READY: Final = b"ready"
YOURS: Final = b"yours"
READY_WITHIN_S: Final = 60.0
"""Seconds within which a successor's workers must be ready; otherwise it gives up."""
PATIENCE_S: Final = READY_WITHIN_S + 10.0
"""Seconds for which the predecessor waits for its successor."""
ANSWER_S: Final = 5.0
"""Seconds for the other side to answer a request, or for a process that is ending to end."""
_FILES_PER_RECORD = 128
"""Linux accepts 253 in one message (SCM_MAX_FD, unix(7))."""
_RECORD = 65_536


class SocketKey(NamedTuple):
    """The use and address of a socket."""

    use: str
    address: str
    """As in the settings: port 0 stays 0."""
    transport: str
    """`udp` or `tcp`."""


_LISTENER = SocketKey("takeover", "socket", "unix")
_LOCK = SocketKey("takeover", "lock", "file")


class TakeOverError(Exception):
    """A state folder cannot be claimed; the message contains the reason."""


class StateClaim:
    """The right to run on a state folder, from a predecessor's end until a successor's start."""

    def __init__(
        self,
        lock: int,
        listener: socket.socket,
        *,
        program: Program,
        predecessor: socket.socket | None = None,
        inherited: Sequence[tuple[SocketKey, int]] = (),
    ) -> None:
        self._program = program
        self._lock = lock
        self._listener = listener
        self.predecessor = predecessor
        """The connection to the predecessor; None if there is none, or after the take-over."""
        self.inherited = inherited
        """The predecessor's listening sockets."""

    async def take(self) -> None:
        """Request the predecessor to stop; return when it has agreed or ended.

        This waits without a limit, since only the answer determines which of the two continues.
        """
        if self.predecessor is None:
            return
        loop = asyncio.get_running_loop()
        answer = b""
        with self.predecessor as predecessor:
            predecessor.setblocking(False)
            with contextlib.suppress(OSError):  # it has ended, so no one else has its sockets
                await loop.sock_sendall(predecessor, READY)
                answer = await loop.sock_recv(predecessor, _RECORD)
        if answer not in (YOURS, b""):
            raise TakeOverError(json.loads(answer)["refused"])
        self.predecessor = None

    async def give(self, files: Sequence[tuple[SocketKey, int]]) -> None:
        """Offer hand-over to every successor that connects; return when one has taken over."""
        files = [*files, (_LISTENER, self._listener.fileno()), (_LOCK, self._lock)]
        conversation: asyncio.Task[bool] | None = None
        waiting = asyncio.create_task(self._next())
        try:
            while True:
                tasks = {waiting} if conversation is None else {waiting, conversation}
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if conversation is not None and conversation.done():
                    if conversation.result():
                        return
                    conversation = None
                if waiting.done():
                    successor = waiting.result()
                    waiting = asyncio.create_task(self._next())
                    if conversation is None:
                        conversation = asyncio.create_task(_converse(successor, files))
                    else:
                        _refuse(successor, f"another {self._program} is taking over now")
                        successor.close()
        finally:
            waiting.cancel()
            if conversation is not None:
                conversation.cancel()

    async def _next(self) -> socket.socket:
        while True:
            try:
                successor, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            except OSError as error:
                _log().error("takeover.unavailable", reason=error.strerror)
                await asyncio.sleep(1.0)
            else:
                return successor

    def close(self) -> None:
        """Release the folder, unless a successor has taken it over."""
        self._listener.close()
        if self.predecessor is not None:
            self.predecessor.close()
        os.close(self._lock)


async def claim(state_dir: Path, *, take_over: bool, program: Program = "edge") -> StateClaim:
    """Claim `state_dir`: a free one, or (with `take_over`) a predecessor's. Raises TakeOverError.

    With `take_over`, waits up to ANSWER_S for a process that is ending.
    """
    lock = os.open(state_dir / f"{program}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ANSWER_S
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    # Works for any length of the folder's path; an address of unix(7) has only 107 octets.
    address = f"/proc/self/fd/{folder}/{program}.sock"
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (state_dir / f"{program}.sock").unlink(missing_ok=True)
                return StateClaim(lock, _listen(address), program=program)
            if not take_over:
                raise TakeOverError(
                    f"another {program} runs on the state folder {state_dir}; "
                    "--take-over replaces it without losing a packet"
                )
            with contextlib.suppress(OSError):  # no process listens, or it is ending
                inherited = await asyncio.to_thread(_inherit, address, program)
                os.close(lock)
                return inherited
            if loop.time() > deadline:
                raise TakeOverError(f"the {program} on {state_dir} neither hands over nor ends")
            await asyncio.sleep(0.05)
    except BaseException:
        os.close(lock)
        raise
    finally:
        os.close(folder)


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    os.fchmod(listener.fileno(), 0o600)  # before bind: never open to others
    listener.bind(address)
    listener.listen()
    return listener


def _inherit(address: str, program: Program) -> StateClaim:
    """A claim with everything that the predecessor has. Raises OSError, TakeOverError."""
    predecessor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        predecessor.settimeout(ANSWER_S)
        predecessor.connect(address)
        files = _receive_files(predecessor)
    except BaseException:
        predecessor.close()
        raise
    ours = {key: file for key, file in files if key in (_LISTENER, _LOCK)}
    return StateClaim(
        ours[_LOCK],
        socket.socket(fileno=ours[_LISTENER]),
        program=program,
        predecessor=predecessor,
        inherited=[(key, file) for key, file in files if key not in ours],
    )


def _receive_files(predecessor: socket.socket) -> list[tuple[SocketKey, int]]:
    files: list[tuple[SocketKey, int]] = []
    while True:
        record, received, flags, _ = socket.recv_fds(
            predecessor, _RECORD, _FILES_PER_RECORD, socket.MSG_CMSG_CLOEXEC
        )
        if not record:
            raise ConnectionResetError
        message: dict[str, Any] = json.loads(record)
        if "refused" in message:
            raise TakeOverError(message["refused"])
        keys = [SocketKey(*each) for each in message["files"]]
        if flags & socket.MSG_CTRUNC or len(keys) != len(received):
            raise TakeOverError("too many sockets: this process may not open enough files")
        files += zip(keys, received, strict=True)
        if message["last"]:
            return files


async def _converse(successor: socket.socket, files: Sequence[tuple[SocketKey, int]]) -> bool:
    """Offer the files to a successor; returns whether it has taken over."""
    loop = asyncio.get_running_loop()
    with successor:
        try:
            _log().info("takeover.started")
            _send_files(successor, files)
            async with asyncio.timeout(PATIENCE_S):
                answer = await loop.sock_recv(successor, _RECORD)
            if answer == READY:
                successor.send(YOURS)
                return True
            _log().warning("takeover.abandoned")
        except TimeoutError:
            _log().warning("takeover.timed_out")
            _refuse(successor, f"not ready within {PATIENCE_S:.0f} s")
        except OSError as error:
            _log().warning("takeover.lost", reason=error.strerror)
    return False


def _send_files(successor: socket.socket, files: Sequence[tuple[SocketKey, int]]) -> None:
    for first in range(0, len(files), _FILES_PER_RECORD):
        some = files[first : first + _FILES_PER_RECORD]
        last = first + _FILES_PER_RECORD >= len(files)
        record = json.dumps({"files": [key for key, _ in some], "last": last})
        socket.send_fds(successor, [record.encode()], [file for _, file in some])


def _refuse(successor: socket.socket, why: str) -> None:
    with contextlib.suppress(OSError):
        successor.send(json.dumps({"refused": why}).encode())


def _log() -> Any:
    import structlog  # slow to import, and a claim seldom logs anything

    return structlog.get_logger(__name__)
