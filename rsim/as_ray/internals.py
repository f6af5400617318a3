"""The few of Ray's internals by which its tests ask where they are, and what became of an actor.

Decides nothing about programs: all of it is the public interface under other names. What else is in
those modules of Ray is absent. Owns no state.
"""

from __future__ import annotations

import rsim
from rsim.as_ray.absent import Absent, Partial
from rsim.as_ray.core_worker import CoreWorker
from rsim.as_ray.ids import ActorID, JobID, TaskID
from rsim.as_ray.session import SCRIPT_MODE, WORKER_MODE
from rsim.runtime import current


def gcs_actor_scheduling_enabled() -> bool:
    """Whether actors are placed by a rule of their own: no, as tasks are."""
    return False


class ActorTableData:
    """The states of an actor, by their names."""

    DEPENDENCIES_UNREADY = "DEPENDENCIES_UNREADY"
    PENDING_CREATION = "PENDING_CREATION"
    ALIVE = "ALIVE"
    RESTARTING = "RESTARTING"
    DEAD = "DEAD"


class _ThisNode(Partial):
    """The node on which the code runs that asks."""

    PATH = "ray._private.worker.global_worker.node"

    @property
    def unique_id(self) -> str:
        """The node's id, as in ray.nodes()."""
        return str(rsim.get_runtime_context().get_node_id())

    node_id = unique_id

    @property
    def node_ip_address(self) -> str:
        """All nodes are on this machine."""
        return "127.0.0.1"

    @property
    def plasma_store_socket_name(self) -> str:
        """What ray.nodes() calls the node's object store."""
        mine = (node for node in rsim.nodes() if node["NodeID"] == self.unique_id)
        return str(next(mine)["ObjectStoreSocketName"])

    def is_head(self) -> bool:
        """Whether it is the driver's."""
        return bool(rsim.nodes()[0]["NodeID"] == self.unique_id)


class GlobalWorker(Partial):
    """The process in which the code runs that asks: a driver or a worker."""

    PATH = "ray._private.worker.global_worker"
    node = _ThisNode()
    core_worker = CoreWorker()
    gcs_client = Absent("ray._private.worker.global_worker.gcs_client")

    @property
    def connected(self) -> bool:
        """Whether rsim runs."""
        return rsim.is_initialized()

    def check_connected(self) -> None:
        """Raises RuntimeError unless rsim runs."""
        if not self.connected:
            raise RuntimeError("rsim does not run: call ray.init() first")

    @property
    def mode(self) -> int | None:
        """Whether it is a driver or a worker; None: rsim does not run."""
        if not self.connected:
            return None
        in_worker = rsim.get_runtime_context().get_task_id() is not None
        return WORKER_MODE if in_worker else SCRIPT_MODE

    @property
    def worker_id(self) -> bytes:
        """The name of the process."""
        return str(rsim.get_runtime_context().get_worker_id()).encode()

    @property
    def current_node_id(self) -> str:
        """The node's id, as in ray.nodes()."""
        return self.node.unique_id

    @property
    def current_job_id(self) -> JobID:
        """The id of what the driver runs; nil: rsim does not run."""
        return self.core_worker.get_current_job_id()

    @property
    def current_task_id(self) -> TaskID:
        """The id of the task whose code asks; nil in a driver."""
        return self.core_worker.get_current_task_id()

    @property
    def actor_id(self) -> ActorID:
        """The id of the actor whose code asks; nil outside of one."""
        return self.core_worker.get_actor_id()

    @property
    def node_ip_address(self) -> str:
        """All nodes are on this machine."""
        return self.node.node_ip_address

    @property
    def task_depth(self) -> int:
        """How many tasks, and calls of actors, are above the code that asks; of a driver 0."""
        client = current.client
        return 0 if client is None else client.context.depth + 1

    @property
    def namespace(self) -> str:
        """Where the names of actors are looked for."""
        return str(rsim.get_runtime_context().namespace)


global_worker = GlobalWorker()
