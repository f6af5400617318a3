"""The simulated cluster: one process, virtual time, every choice and fault under a seed."""

from rsim.sim.cluster import Cluster, Node
from rsim.sim.faults import Faults
from rsim.sim.sources import Fifo, Replay, Seeded
from rsim.sim.tape import Tape

__all__ = ["Cluster", "Faults", "Fifo", "Node", "Replay", "Seeded", "Tape"]
