"""One end of a stream socket between the driver and a worker, in frames.

Decides nothing. Must never block. Owns the bytes that are not sent yet and the frame that is not
complete yet.
"""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from rsim.runtime.wire import HEADER_BYTES, append_frame, split_frames

READ_BYTES: Final = 1 << 18
"""Size of the buffer that a link reads into; links that are not read at the same time may share
one.
"""


class Link:
    """Frames over a socket. The caller serialises all access."""

    def __init__(self, sock: socket.socket, scratch: memoryview) -> None:
        self.sock = sock
        self.out = bytearray()
        self._scratch = scratch
        self._partial = bytearray()
        self._wanted = 0
        """The size of the frame that ``_partial`` begins, if known."""

    def append(self, message: msgspec.Struct) -> None:
        """Add a message to what is to be sent."""
        append_frame(self.out, message)

    def flush(self) -> bool:
        """Send what the socket takes. False: some is left, or the other side is gone."""
        out = self.out
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

    def frames(self) -> list[memoryview]:
        """Read once; the complete frames, valid until the next read. EOFError at the end of the
        stream.
        """
        try:
            size_bytes = self.sock.recv_into(self._scratch, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            size_bytes = 0
        if not size_bytes:
            raise EOFError
        view = self._scratch[:size_bytes]
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
        return frames
