"""One end of a stream socket between the driver and a worker, in frames of messages.

Decides that what is sent together is one frame. Must never block, but in ``send_all``. Owns what is
not sent yet and the frame that is not complete yet.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from rsim.runtime.wire import HEADER_BYTES, append_frame, frame_size, split_frames

READ_BYTES: Final = 1 << 18
"""Size of the buffer that a link reads into; links that are not read at the same time may share
one.
"""


M = TypeVar("M")


class Link(Generic[M]):
    """Messages over a socket. The caller serialises all access. ``decode`` reads a frame."""

    def __init__(
        self, sock: socket.socket, scratch: memoryview, decode: Callable[[memoryview], list[M]]
    ) -> None:
        self.sock = sock
        self._unsent: list[msgspec.Struct] = []
        self._out = bytearray()
        self._scratch = scratch
        self._decode = decode
        self._partial = bytearray()
        self._wanted = 0
        """The size of the frame that ``_partial`` begins, if known."""
        self.append = self._unsent.append
        """Add a message to what is to be sent."""
        self.extend = self._unsent.extend
        """Add several."""

    def _frame(self) -> bytearray:
        if self._unsent:
            append_frame(self._out, self._unsent)
            self._unsent.clear()
        return self._out

    def send_all(self) -> None:
        """Send all, however long it takes. OSError when the other side is gone."""
        out = self._frame()
        self.sock.sendall(out)
        out.clear()

    def flush(self) -> bool:
        """Send what the socket takes. False: some is left, or the other side is gone."""
        out = self._frame()
        while out:
            try:
                sent = self.sock.send(out, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return False  # its end is seen to where exits are
            if sent == len(out):
                out.clear()
            else:
                del out[:sent]
        return True

    def receive(self) -> list[M]:
        """Read once; what has come in complete frames. EOFError at the end of the stream."""
        try:
            size_bytes = self.sock.recv_into(self._scratch, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            size_bytes = 0
        if not size_bytes:
            raise EOFError
        view = self._scratch[:size_bytes]
        if not self._partial and frame_size(view) == size_bytes:  # as it mostly is
            return self._decode(view[HEADER_BYTES:])
        if self._partial:
            self._partial += view
            if len(self._partial) < self._wanted:
                return []
            view = memoryview(bytes(self._partial))
            self._partial.clear()
        frames, self._wanted = split_frames(view)
        used = sum(map(len, frames)) + HEADER_BYTES * len(frames)
        if used < len(view):
            self._partial += view[used:]
        return [message for frame in frames for message in self._decode(frame)]
