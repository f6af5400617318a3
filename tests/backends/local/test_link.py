"""Frames, however the stream cuts them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.backends.local.link import Inlet, Outlet
from rsim.core.events import WorkerStarted
from rsim.runtime.wire import ClientEvent, FunctionExported, decode_client_events, frame_of

messages = st.lists(
    st.one_of(
        st.builds(WorkerStarted, st.integers(0, 9)),
        st.builds(FunctionExported, st.just(1), st.just(b"f"), st.binary(max_size=300)),
    ),
    max_size=12,
)


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_frames_arrive_whole_and_in_order(sent: list[list[ClientEvent]], cuts: list[int]) -> None:
    stream = b"".join(map(frame_of, sent))
    near, far = socket.socketpair()
    with near, far:
        inlet = Inlet(far.fileno(), memoryview(bytearray(256)), decode_client_events)
        received: list[ClientEvent] = []
        position = 0
        for cut in (*cuts, *[256] * (len(stream) // 256 + 1)):
            near.sendall(stream[position : position + cut])
            position += cut
            for _ in range(cut // 256 + 1):
                received += inlet.receive()
        assert received == [message for together in sent for message in together]
        assert inlet.receive() == []


def test_the_end_of_the_stream_is_told() -> None:
    near, far = socket.socketpair()
    with far:
        near.close()
        with pytest.raises(EOFError):
            Inlet(far.fileno(), memoryview(bytearray(256)), decode_client_events).receive()


def test_what_finds_no_room_is_sent_later() -> None:
    taken: list[bytes] = []
    room = 0

    def write(out: bytes) -> int:
        nonlocal room
        if not room:
            raise BlockingIOError
        size, room = min(room, len(out)), 0
        taken.append(out[:size])
        return size

    outlet = Outlet(write)
    message = WorkerStarted(1)
    outlet.append(message)
    assert not outlet.flush()
    outlet.append(message)
    for _ in range(3):
        room = 7
        assert not outlet.flush()
    room = 1000
    assert outlet.flush()
    assert b"".join(taken) == 2 * frame_of([message])
