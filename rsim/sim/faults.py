"""Injected faults: who dies, when, and how often.

Decides, by the choice tape, whether a worker or a node dies in the course of a task execution, and
at which point of it. Must never strike the driver's node, or more than `max_faults` times in a run.
Owns the number of faults so far.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsim.runtime import checks
from rsim.sim.tape import Tape

AT_START, AT_PAUSE, AT_END = range(3)
"""When in an execution death comes: before user code runs, the first time that it waits or sleeps
(if never, at the end), and after it has run but before anybody hears of its result."""

WORKER, NODE = "worker", "node"


@dataclass(frozen=True)
class Faults:
    """How often what dies in a simulated run.

    A rate is a chance per opportunity, from 0 to 1. An opportunity is one execution of a task: its
    worker dies once in the course of it, or the node that it is on does (never the driver's).
    `max_faults` bounds them all together. Raises TypeError or ValueError for anything else.
    """

    kill_worker: float = 0.0
    kill_node: float = 0.0
    max_faults: int = 3

    def __post_init__(self) -> None:
        for name in ("kill_worker", "kill_node"):
            rate = getattr(self, name)
            if isinstance(rate, bool) or not isinstance(rate, (int, float)):
                raise TypeError(f"{name} must be a number from 0 to 1, not {rate!r}")
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {rate!r}")
        checks.integer("max_faults", self.max_faults, 0)


@dataclass(frozen=True, slots=True)
class Doom:
    """A death to come in one task execution."""

    victim: str
    """WORKER or NODE."""
    when: int


class Injector:
    """Draws the faults of one run."""

    def __init__(self, faults: Faults, tape: Tape) -> None:
        self._faults = faults
        self._tape = tape
        self._left = faults.max_faults

    def doom(self, task_id: bytes, *, exempt_node: bool) -> Doom | None:
        """What shall die in this execution of a task. It counts even if it then cannot happen."""
        if not self._left:
            return None
        faults, tape = self._faults, self._tape
        if not exempt_node and tape.chance("fault.kill_node", task_id, float(faults.kill_node)):
            victim = NODE
        elif tape.chance("fault.kill_worker", task_id, float(faults.kill_worker)):
            victim = WORKER
        else:
            return None
        self._left -= 1
        return Doom(victim, tape.draw("fault.when", 3, task_id))
