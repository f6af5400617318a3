"""The two ends of a one-way stream of messages between the driver and a worker, in frames.

Decides that what is sent together is one frame. Must never block, but in ``send_all``. Owns what is
not sent yet, and the frame that is not complete yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from rsim.runtime.wire import HEADER_BYTES, frame_of, frame_size, join_frames

READ_BYTES: Final = 1 << 18
"""Size of the buffer that an inlet reads into; those that are not read at the same time may share
one.
"""


M = TypeVar("M")


class Outlet:
    """Where messages are sent: ``write`` takes bytes of it, and tells how many. The caller
    serialises all access.
    """

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._unsent: list[msgspec.Struct] = []
        self._out = b""
        """Of frames, what is not sent yet."""
        self.append = self._unsent.append
        """Add a message to what is to be sent."""

    def send_all(self) -> None:
        """Send all, however long it takes, if ``write`` waits for room. OSError when the other side
        is gone.
        """
        if self._unsent:
            self._out += frame_of(self._unsent)
            self._unsent.clear()
        while self._out:
            sent = self._write(self._out)
            self._out = self._out[sent:]

    def flush(self) -> bool:
        """Send what there is room for. False: some is left, or the other side is gone."""
        try:
            self.send_all()
        except OSError:
            return False  # the end of the other side is seen to where exits are
        return True


class Inlet(Generic[M]):
    """Where messages arrive: an fd that does not block. The caller serialises all access.
    ``decode`` reads a frame.
    """

    def __init__(
        self, fd: int, scratch: memoryview, decode: Callable[[bytes | memoryview], list[M]]
    ) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._buffers = [scratch]
        self._decode = decode
        self._partial = bytearray()
        self._wanted = 0
        """The size of the frame that ``_partial`` begins, if known."""

    def receive(self) -> list[M]:
        """Read once; what has come in complete frames. EOFError at the end of the stream."""
        try:
            size_bytes = os.readv(self.fd, self._buffers)
        except BlockingIOError:
            return []
        except OSError:
            size_bytes = 0
        if not size_bytes:
            raise EOFError
        view = self._buffers[0][:size_bytes]
        if not self._partial and frame_size(view) == size_bytes:  # as it mostly is
            return self._decode(view[HEADER_BYTES:])
        if self._partial:
            self._partial += view
            if len(self._partial) < self._wanted:
                return []
            view = memoryview(bytes(self._partial))
            self._partial.clear()
        together, used, self._wanted = join_frames(view)
        if used < len(view):
            self._partial += view[used:]
        return self._decode(together) if used else []
