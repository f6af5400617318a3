"""Frames, however the stream cuts them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.backends.local.link import Link
from rsim.core.events import WorkerStarted
from rsim.runtime.wire import ClientEvent, FunctionExported, append_frame, decode_client_events

messages = st.lists(
    st.one_of(
        st.builds(WorkerStarted, st.integers(0, 9)),
        st.builds(FunctionExported, st.just(1), st.just(b"f"), st.binary(max_size=300)),
    ),
    max_size=12,
)


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_frames_arrive_whole_and_in_order(sent: list[list[ClientEvent]], cuts: list[int]) -> None:
    stream = bytearray()
    for together in sent:
        append_frame(stream, together)
    near, far = socket.socketpair()
    with near, far:
        link = Link(far, memoryview(bytearray(256)), decode_client_events)
        received: list[ClientEvent] = []
        position = 0
        for cut in (*cuts, *[256] * (len(stream) // 256 + 1)):
            near.sendall(stream[position : position + cut])
            position += cut
            for _ in range(cut // 256 + 1):
                received += link.receive()
        assert received == [message for together in sent for message in together]
        assert link.receive() == []


def test_the_end_of_the_stream_is_told() -> None:
    near, far = socket.socketpair()
    with far:
        near.close()
        with pytest.raises(EOFError):
            Link(far, memoryview(bytearray(256)), decode_client_events).receive()
