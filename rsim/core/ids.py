"""Identifiers, derived and never random.

Decides how the id of a task, of a task's results and of the objects it puts follow from the parent
task and a running index, so that a re-executed parent creates the same children again. Must never
draw entropy or read a clock. Owns no state.

Layout: a task id is 16 bytes; an object id is its creating task's id followed by a 4-byte
big-endian index. Results count up from 0 (a generator's
items from 1), objects that the task put count up from ``PUT_BASE``.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

TASK_ID_BYTES = 16
OBJECT_ID_BYTES = 20
PUT_BASE = 1 << 31

_BYTES = [bytes((value,)) for value in range(256)]

FIRST_RETURN = (0).to_bytes(4, "big")
"""What the id of its first result has behind a task's: ``return_id``, inlined on hot paths."""


def driver_task_id(job: int) -> bytes:
    """The id of the task that the driver's own top-level code counts as."""
    return blake2b(b"rsim driver %d" % job, digest_size=TASK_ID_BYTES).digest()


def child_task_id(parent: bytes, index: int) -> bytes:
    """The id of the ``index``-th task submitted by ``parent``."""
    return _BYTES[index & 0xFF] + _siblings(parent, index >> 8)


@lru_cache
def _siblings(parent: bytes, block: int) -> bytes:
    """What the ids of 256 tasks in a row have in common."""
    data = parent + block.to_bytes(8, "big")
    return blake2b(data, digest_size=TASK_ID_BYTES - 1).digest()


def return_id(task_id: bytes, index: int) -> bytes:
    """The id of the ``index``-th result of ``task_id``."""
    if index == 0:
        return task_id + FIRST_RETURN
    return task_id + index.to_bytes(4, "big")


def consecutive(object_id: bytes, count: int) -> list[bytes]:
    """The ids of ``count`` results of one task, of which ``object_id`` is the first."""
    if count == 1:
        return [object_id]
    task_id, first = creator(object_id), index_of(object_id)
    return [return_id(task_id, index) for index in range(first, first + count)]


def put_id(task_id: bytes, index: int) -> bytes:
    """The id of the ``index``-th object that ``task_id`` put into the store."""
    return task_id + (PUT_BASE + index).to_bytes(4, "big")


def index_of(object_id: bytes) -> int:
    """Which result (or, from ``PUT_BASE`` on, which put) of its task the object is."""
    return int.from_bytes(object_id[TASK_ID_BYTES:], "big")


def creator(object_id: bytes) -> bytes:
    """The id of the task that created ``object_id``."""
    return object_id[:TASK_ID_BYTES]


def is_put(object_id: bytes) -> bool:
    """Whether the object was put, rather than returned."""
    return object_id[TASK_ID_BYTES] >= 0x80
