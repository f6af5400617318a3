"""ray.init and ray.shutdown: Ray's arguments, checked and translated to those of rsim.init.

Decides what becomes of each argument: some have a meaning, some are without effect by nature, and
the others, which would change what programs do, raise NotImplementedError. Owns the context that
`init` returned last.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import rsim
from rsim.as_ray import cluster
from rsim.as_ray.arguments import check_others, check_resources, keeps_quiet, override
from rsim.as_ray.exceptions import RaySystemError
from rsim.as_ray.helpers import learn_serializers
from rsim.as_ray.logs import LoggingConfig, configure
from rsim.as_ray.runtime_env import JobConfig, hooked
from rsim.exceptions import RsimTaskError
from rsim.runtime import checks

logger = logging.getLogger("ray")

__version__ = "2.60.0"
"""The version of Ray whose interface this is."""

__commit__ = "rsim"

SCRIPT_MODE, WORKER_MODE, SPILL_WORKER_MODE, RESTORE_WORKER_MODE = 0, 1, 3, 4

_LOCAL_MODE = (
    "local_mode=True was removed from Ray, and rsim does not have it: to run a program in one "
    "process, under a debugger, with breakpoints and coverage, use the simulator, by "
    "rsim.as_ray.install('sim'), `python -m rsim.as_ray --backend sim` or "
    "`pytest --rsim-as-ray=sim`"
)


class RayContext(Mapping[str, Any]):
    """What ray.init returns: facts by their names, and a context manager that ends the session."""

    dashboard_url = ""
    python_version = ".".join(map(str, sys.version_info[:3]))
    ray_version = __version__
    ray_commit = __commit__

    def __init__(self, session: rsim.Session, address: str) -> None:
        self._session = session
        self.address_info: dict[str, Any] = {
            "address": address,
            "gcs_address": address,
            "node_id": _node_id(session),
            "node_ip_address": "127.0.0.1",
            "raylet_ip_address": "127.0.0.1",
            "redis_address": None,
            "session_dir": "",
            "webui_url": "",
        }

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exception: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """End the session."""
        self._session.shutdown()

    def __repr__(self) -> str:
        return f"RayContext({self.address_info})"


_context: RayContext | None = None


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: float | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    job_config: JobConfig | None = None,
    logging_config: LoggingConfig | None = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Any = None,
    **others: Any,
) -> RayContext:
    """Start rsim as Ray would be started; `address` may be that of a Cluster.

    Raises RuntimeError when it runs already, unless `ignore_reinit_error`, and for local_mode;
    NotImplementedError, with its name, for an argument whose effect rsim does not have; ValueError,
    TypeError and, for resources, AssertionError for bad arguments.
    """
    global _context
    if local_mode:
        raise RuntimeError(_LOCAL_MODE)
    if log_to_driver is None:
        log_to_driver = os.environ.get("RAY_LOG_TO_DRIVER", "1").lower() in ("1", "true")
    log_to_driver = not keeps_quiet(others) and log_to_driver
    if labels is not None:
        checks.labels("labels", labels)
    meant = check_others(others)
    check_resources(resources or ())
    if rsim.is_initialized():
        return _running(ignore_reinit_error)
    configure(logging_config)
    learn_serializers()
    job = job_config or JobConfig()
    given: dict[str, Any] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": resources,
        "labels": labels,
        "object_store_memory": _whole(object_store_memory),
        "memory": _floor(others.get("_memory", others.get("memory"))),
    }
    settings: dict[str, Any] = {
        "namespace": job.ray_namespace if namespace is None else namespace,
        "log_to_driver": log_to_driver,
        "runtime_env": hooked(runtime_env or job.runtime_env, others),
    }
    found = cluster.find(address)
    if found is not None:
        _refuse_sizes({**given, "_system_config": others.get("_system_config")})
        session = found.start(settings)
    else:
        override(given)
        used = {name: value for name, value in given.items() if value is not None}
        used["resources"] = cluster.head_resources(given["resources"])
        used["labels"] = cluster.labels_of(cluster.head_name(), labels)
        session = rsim.init(**used, **settings, **meant)
    where = found.address if found is not None else None
    _context = RayContext(session, where or session.address)
    return _context


def _whole(amount: float | None) -> float | None:
    """A number of bytes; Ray takes 1e9 for one, too."""
    return int(amount) if isinstance(amount, float) and amount.is_integer() else amount


def _floor(amount: float | None) -> float | None:
    """A number of bytes, cut off; None for none, which is as good as rsim's default."""
    return None if amount is None else int(amount) or None


def _running(ignore_reinit_error: bool) -> RayContext:
    """The context, or the error, of an `init` while something runs."""
    global _context
    session = rsim.init(ignore_reinit_error=True)
    if not ignore_reinit_error:
        raise RuntimeError(
            f"Maybe you called ray.init twice by accident? {session!r} is running: call "
            "ray.shutdown() first, or pass ignore_reinit_error=True"
        )
    if _context is None or _context._session is not session:
        _context = RayContext(session, session.address)
    return _context


def _refuse_sizes(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"When connecting to an existing cluster, {name} must not be provided: "
                "it belongs to the nodes, so give it to Cluster.add_node()"
            )


def _node_id(session: rsim.Session) -> str:
    """The id of the driver's node."""
    context = getattr(rsim, "get_runtime_context", None)
    return str(context().get_node_id()) if context is not None else ""


def is_initialized() -> bool:
    """Whether ray.init was called, or anything that does it by itself."""
    return rsim.is_initialized()


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End what runs; does nothing when nothing does. rsim always waits for its processes."""
    global _context
    _context = None
    rsim.shutdown()


def start_by_itself() -> None:
    """What any first call does: ray.init(), unless RAY_ENABLE_AUTO_CONNECT=0 forbids it."""
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT") == "0":
        text = "Ray has not been started yet. Call ray.init(), as RAY_ENABLE_AUTO_CONNECT is 0"
        raise RaySystemError(text)
    init()


def handle_unseen(error: RsimTaskError) -> bool:
    """Hand an error that nobody has asked for to the program's own handler, if it has put one into
    ray._private.worker.
    """
    worker = sys.modules.get("ray._private.worker")
    handler = None if worker is None else vars(worker).get("_unhandled_error_handler")
    if handler is not None:
        handler(error)
    return handler is not None
