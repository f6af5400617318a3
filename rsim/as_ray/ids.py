"""The classes of ids that Ray has; rsim's own interface has plain hex digits.

Decides their sizes. Owns no state.
"""

from __future__ import annotations

import os
from typing import ClassVar, NoReturn, TypeVar

import rsim
from rsim.api import placement

Id = TypeVar("Id", bound="BaseID")


class BaseID:
    """So many bytes that name something. Raises ValueError for another number of bytes."""

    SIZE: ClassVar[int] = 28

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"Unsupported type: {type(binary)}, expected bytes: {binary!r}")
        if len(binary) != self.SIZE:
            raise ValueError(
                f"ID string needs to have length {self.SIZE}, got {len(binary)}: {binary!r}"
            )
        self._binary = binary

    @classmethod
    def size(cls) -> int:
        """The number of bytes."""
        return cls.SIZE

    @classmethod
    def nil(cls: type[Id]) -> Id:
        """The id of nothing."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def from_random(cls: type[Id]) -> Id:
        """Some id."""
        return cls(os.urandom(cls.SIZE))

    @classmethod
    def from_binary(cls: type[Id], binary: bytes) -> Id:
        """The id that these bytes are."""
        return cls(binary)

    @classmethod
    def from_hex(cls: type[Id], digits: str) -> Id:
        """The id that these hex digits are."""
        return cls(bytes.fromhex(digits))

    def binary(self) -> bytes:
        """The id as bytes."""
        return self._binary

    def hex(self) -> str:
        """The id as hex digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether it is the id of nothing."""
        return self._binary == b"\xff" * self.SIZE

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return int.from_bytes(self._binary, "big")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """Of anything."""


class NodeID(UniqueID):
    """Of a node. rsim's ids of nodes are names, which stand in the place of the hex digits."""

    @classmethod
    def from_hex(cls, digits: str) -> NodeID:
        """The id that these hex digits, or this name, is."""
        try:
            return cls(bytes.fromhex(digits))
        except ValueError:
            named = cls.__new__(cls)
            named._binary = digits.encode()
            return named

    def hex(self) -> str:
        """The id as hex digits, or as a name."""
        return self._binary.hex() if len(self._binary) == self.SIZE else self._binary.decode()

    def __reduce__(self) -> tuple[object, ...]:
        return NodeID.from_hex, (self.hex(),)


class NodeAffinitySchedulingStrategy(placement.NodeAffinitySchedulingStrategy):
    """rsim's, which takes a NodeID, too."""

    def __init__(self, node_id: str | NodeID, soft: bool = False, *more: bool, **named: bool):
        name = node_id.hex() if isinstance(node_id, NodeID) else node_id
        if isinstance(node_id, NodeID) and node_id.is_nil():
            raise ValueError(f"Invalid node_id '{name}': it is the id of no node")
        super().__init__(name, soft, *more, **named)


class WorkerID(UniqueID):
    """Of a worker."""


class FunctionID(UniqueID):
    """Of a remote function."""


class ActorClassID(UniqueID):
    """Of an actor class."""


class ClusterID(UniqueID):
    """Of a cluster."""


class JobID(BaseID):
    """Of a job: what one driver runs."""

    SIZE = 4

    @classmethod
    def from_int(cls, number: int) -> JobID:
        """The id of the job with this number."""
        return cls(number.to_bytes(cls.SIZE, "little"))

    def int(self) -> int:
        """The number of the job."""
        return int.from_bytes(self._binary, "little")


class TaskID(BaseID):
    """Of a task: the first bytes of the ids of its results."""

    SIZE = 16

    def job_id(self) -> JobID:
        """The job, of which there is one in a session."""
        return current_job()

    def actor_id(self) -> NoReturn:
        """Raises NotImplementedError: the id of a call does not tell its actor."""
        raise NotImplementedError("TaskID.actor_id() of Ray is not in rsim")


class ActorID(BaseID):
    """Of an actor: that of the object which its creation makes."""

    SIZE = 20

    def job_id(self) -> JobID:
        """The job, of which there is one in a session."""
        return current_job()


class PlacementGroupID(BaseID):
    """Of a placement group."""

    SIZE = 16


def current_job() -> JobID:
    """The id of the session's job; nil when no session runs."""
    if not rsim.is_initialized():
        return JobID.nil()
    return JobID.from_hex(rsim.get_runtime_context().get_job_id())
