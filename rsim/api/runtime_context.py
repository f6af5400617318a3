"""What running code can learn of itself: its task, actor, worker, node and job.

Decides what can be asked in a driver, a task and an actor, by Ray's rules. Must never ask the node
for what is known here. Owns no state.
"""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

from rsim.api.groups import device_ids
from rsim.api.handles import ActorHandle, Interface, methods_of
from rsim.api.runtime_env import RuntimeEnv
from rsim.api.session import running_client
from rsim.api.state import quantities
from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.core.facts import NodeFact, WorkerFact
    from rsim.runtime.client import Client
    from rsim.runtime.wire import RunTask, SessionReply


class RuntimeContext:
    """The code that is running now, in a driver, a task or an actor. From `get_runtime_context`.

    It may be kept: each call tells what is so for whoever makes it. Ids are hex digits; of a node
    its name.
    """

    @property
    def _client(self) -> Client:
        return current.client or running_client()

    @property
    def _task(self) -> RunTask | None:
        return self._client.context.task

    def _session(self) -> SessionReply:
        from rsim.runtime.state import session_of

        return session_of(self._client)

    def get(self) -> dict[str, Any]:
        """The ids that there are, by name, and the namespace."""
        ids = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "namespace": self.namespace,
            "task_id": self.get_task_id(),
            "actor_id": self.get_actor_id(),
        }
        return {name: value for name, value in ids.items() if value is not None}

    # -- where -------------------------------------------------------------------------------------

    def get_job_id(self) -> str:
        """The id of the job, the driver's program."""
        from rsim.runtime.state import job_name

        return job_name(self._session().session.job)

    def get_node_id(self) -> str:
        """The id of the node, which is its name."""
        return self._session().node

    def get_worker_id(self) -> str:
        """The id of this worker; the driver has one too."""
        from rsim.runtime.state import worker_name

        return worker_name(self.get_node_id(), self._client.number)

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        from rsim.core.facts import NODES
        from rsim.runtime import state

        facts: list[NodeFact] = state.ask(self._client, NODES, here=True)
        return dict(next(fact.labels for fact in facts if fact.alive))

    def get_session_name(self) -> str:
        """The name of the session."""
        return self._session().session.name

    @property
    def gcs_address(self) -> str:
        """The address of the cluster."""
        return self._session().session.address

    @property
    def namespace(self) -> str:
        """The namespace of the job."""
        return self._session().session.namespace

    # -- the task ----------------------------------------------------------------------------------

    def get_task_id(self) -> str | None:
        """The id of the running task; None in a driver."""
        task = self._task
        return None if task is None else task.task_id.hex()

    def get_task_name(self) -> str | None:
        """The running task's option `name`, else its function's name; None in a driver."""
        from rsim.runtime.wire import CREATION

        task = self._task
        if task is None:
            return None
        return f"{task.name}.__init__" if task.kind == CREATION else task.name

    def get_task_function_name(self) -> str | None:
        """The name of the function or method with its module; None in a driver."""
        task = self._task
        return None if task is None else _qualified_name(self._client, task)

    def is_canceled(self) -> bool:
        """Whether the running task was cancelled; for code that sees to that by itself.

        Raises RuntimeError in a driver, and in an actor with `async def` methods, whose calls are
        cancelled by asyncio's means.
        """
        self._in_worker("is_canceled()")
        if self._client.has_loop:
            raise RuntimeError(
                "This method is not supported in an async actor: is_canceled(). Its calls are "
                "cancelled by asyncio.CancelledError"
            )
        return self._client.context.cancelled

    def get_assigned_resources(self) -> dict[str, float]:
        """The resources that the task, or the actor, holds, by name; those of a bundle by the names
        that they have outside. RuntimeError in a driver.
        """
        from rsim.core.bundles import outside

        self._in_worker("get_assigned_resources()")
        return quantities(outside(self._worker().demand))

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The ids of the accelerators that the task, or the actor, may use, by resource."""
        from rsim.core.devices import KINDS

        return {kind: list(map(str, device_ids(kind))) for kind in KINDS}

    def _in_worker(self, name: str) -> None:
        if self._task is None:
            raise RuntimeError(f"{name} can be called in a task or an actor, not in a driver")

    def _worker(self) -> WorkerFact:
        from rsim.core.facts import WORKERS
        from rsim.runtime import state

        number = self._client.number
        facts: list[WorkerFact] = state.ask(self._client, WORKERS, here=True)
        return next(fact for fact in facts if fact.alive and fact.client == number)

    # -- the actor ---------------------------------------------------------------------------------

    def get_actor_id(self) -> str | None:
        """The id of the actor; None outside of one."""
        creation = self._client.creation
        return None if creation is None else _actor_id(creation).hex()

    def get_actor_name(self) -> str | None:
        """The name that the actor was given, or empty; None outside of one."""
        creation = self._client.creation
        if creation is None:
            return None
        assert creation.creation is not None
        name = creation.creation.name
        return "" if name is None else name.name

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor was created again after its death. RuntimeError outside of an actor."""
        return self._creation("was_current_actor_reconstructed").attempt > 0

    @property
    def current_actor(self) -> ActorHandle:
        """A handle of the actor itself. RuntimeError outside of an actor.

        It does not keep the actor alive, so the actor may keep it; whoever it is passed on to holds
        the actor as with any handle.
        """
        creation, client = self._creation("current_actor"), self._client
        return ActorHandle(client.make_ref(_actor_id(creation)), _interface(client, creation))

    def _creation(self, name: str) -> RunTask:
        creation = self._client.creation
        if creation is None:
            raise RuntimeError(f"{name} is available in an actor only")
        return creation

    # -- the placement group -----------------------------------------------------------------------

    def get_placement_group_id(self) -> str | None:
        """The id of the placement group that the task or actor is in; None: in none."""
        tenancy = self._client.tenancy
        return tenancy.group.hex() or None if tenancy is not None else None

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks submitted here go to this one's placement group."""
        tenancy = self._client.tenancy
        return tenancy is not None and tenancy.captures

    # -- the environment ---------------------------------------------------------------------------

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment of the task or actor, with what it has from its parents and from
        the job: a dict, with `env_vars`, a dict, or empty.
        """
        from rsim.runtime.environment import merged

        tenancy = self._client.tenancy
        variables = merged(
            self._session().session.env_vars, () if tenancy is None else tenancy.env_vars
        )
        return RuntimeEnv(env_vars=dict(variables)) if variables else RuntimeEnv()

    def get_runtime_env_string(self) -> str:
        """The same as JSON."""
        return json.dumps(self.runtime_env)

    def get_temp_dir(self) -> str:
        """Raises NotImplementedError: a session has no folder of its own that users may use."""
        raise NotImplementedError("get_temp_dir(): use the module tempfile")


def _actor_id(creation: RunTask) -> bytes:
    from rsim.core.ids import return_id

    return return_id(creation.task_id, 0)


def _interface(client: Client, creation: RunTask) -> Interface:
    """What handles of the actor itself know of its class."""
    cls: Any = client.loaded_functions[creation.function_id]
    chosen = pickle.loads(creation.extras) if creation.extras else {}
    options = creation.creation
    assert options is not None
    loose = options.asyncio or options.max_concurrency > 1
    return Interface(
        creation.name,
        methods_of(cls),
        chosen.get("max_task_retries", 0),
        -1,
        chosen.get("allow_out_of_order_execution", loose),
        tuple(name for name, _ in options.groups),
        not chosen.get("enable_task_events", True),
    )


def _qualified_name(client: Client, task: RunTask) -> str:
    from rsim.runtime.wire import CALL, CREATION

    if task.kind == CALL:
        assert client.creation is not None
        return f"{_full_name(client, client.creation)}.{task.method}"
    name = _full_name(client, task)
    return f"{name}.__init__" if task.kind == CREATION else name


def _full_name(client: Client, task: RunTask) -> str:
    """The name of a task's function or class, with its module."""
    function = client.loaded_functions[task.function_id]
    return f"{function.__module__}.{getattr(function, '__qualname__', task.name)}"


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """What the code that is running now can learn of itself; starts a runtime if there is none."""
    running_client()
    return _context
