"""Frames over a socket, whatever pieces they come in."""

import socket
from collections.abc import Iterator

import pytest

from rsim.backends.local.link import Link
from rsim.runtime.wire import FunctionReply, Recall, decode_delivery


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    left, right = socket.socketpair()
    with left, right:
        yield Link(left, memoryview(bytearray(1000))), Link(right, memoryview(bytearray(1000)))


def test_messages_arrive_in_order_and_whole(ends: tuple[Link, Link]) -> None:
    sender, receiver = ends
    messages = [FunctionReply(op, b"x" * (op * 700)) for op in range(10)]
    for message in messages:
        sender.append(message)
    received = []
    while len(received) < len(messages):
        sender.flush()
        received += [decode_delivery(frame) for frame in receiver.frames()]
    assert received == messages


def test_flush_says_when_the_socket_is_full(ends: tuple[Link, Link]) -> None:
    sender, receiver = ends
    big = FunctionReply(1, bytes(3_000_000))
    sender.append(big)
    sender.append(Recall())
    assert not sender.flush()
    received = []
    while len(received) < 2:
        received += [decode_delivery(frame) for frame in receiver.frames()]
        sender.flush()
    assert received == [big, Recall()]
    assert sender.flush()


def test_nothing_to_read_is_no_frames(ends: tuple[Link, Link]) -> None:
    assert list(ends[1].frames()) == []


def test_the_end_of_the_stream_is_an_error(ends: tuple[Link, Link]) -> None:
    sender, receiver = ends
    sender.append(Recall())
    assert sender.flush()
    sender.sock.close()
    assert [decode_delivery(frame) for frame in receiver.frames()] == [Recall()]
    with pytest.raises(EOFError):
        list(receiver.frames())


def test_sending_to_a_closed_end_is_not_an_error(ends: tuple[Link, Link]) -> None:
    sender, receiver = ends
    receiver.sock.close()
    sender.append(Recall())
    assert not sender.flush()
