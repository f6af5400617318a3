"""The control store of a session: of a cluster in one process, in memory.

Decides nothing. Must never block. Owns the exported functions, the lineage on record and the names
of actors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rsim.core.events import Event, LineageRecorded
from rsim.core.records import ActorName, NamedActor, TaskSpec
from rsim.runtime.name_table import NameTable


class MemoryControlStore:
    """``ControlStore`` of the ports, and the ``LineageView`` of the global scheduler.

    ``handle`` takes the acknowledgements to the node of that name.
    """

    def __init__(self, namespace: str, handle: Callable[[str, Event], None]) -> None:
        self.namespace = namespace
        self._handle = handle
        self._functions: dict[bytes, bytes] = {}
        self._lineage: dict[bytes, TaskSpec] = {}
        self._names = NameTable()
        self.release_name = self._names.release
        self.release_names = self._names.release_all
        self.list_names = self._names.names

    def put_function(self, function_id: bytes, blob: bytes) -> None:
        """Make a pickled function known."""
        self._functions[function_id] = blob

    def get_function(self, function_id: bytes) -> bytes:
        """The pickled function. KeyError when nobody exported it."""
        return self._functions[function_id]

    def record_lineage(self, op: int, specs: Sequence[TaskSpec], owner: str) -> None:
        """Write specs down, and say so."""
        self._lineage.update((spec.task_id, spec) for spec in specs)
        self._handle(owner, LineageRecorded(op))

    def forget_lineage(self, task_ids: Sequence[bytes]) -> None:
        """Drop specs."""
        for task_id in task_ids:
            self._lineage.pop(task_id, None)

    def spec(self, task_id: bytes) -> TaskSpec | None:
        """The spec of a task, or None when it is not on record."""
        return self._lineage.get(task_id)

    def claim_name(self, named: NamedActor, answer: Callable[[NamedActor | None], None]) -> None:
        """Note the actor's name if it is free; then answer with the actor that has it."""
        answer(self._names.claim(named))

    def find_name(self, name: ActorName, answer: Callable[[NamedActor | None], None]) -> None:
        """Answer with the actor of that name, or None."""
        answer(self._names.find(name))
