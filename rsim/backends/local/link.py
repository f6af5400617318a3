"""One end of a stream socket between the driver and a worker, in frames.

Decides nothing. Must never block. Owns the bytes that are not sent yet and the frame that is not
complete yet.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

import msgspec

from rsim.runtime.wire import append_frame, split_frames

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

    def frames(self) -> Iterator[memoryview]:
        """Read once; the complete frames. Run it to its end. EOFError at the end of the stream."""
        try:
            size_bytes = self.sock.recv_into(self._scratch, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            size_bytes = 0
        if not size_bytes:
            raise EOFError
        self._partial += self._scratch[:size_bytes]
        yield from split_frames(self._partial)
