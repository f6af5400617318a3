"""The runtime of this process: init, shutdown, and the session that a user holds.

Decides which arguments of `init` are valid and when a runtime begins and ends. Must never know a
backend but by the name of its address. Owns the one session that runs in this process.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from rsim.api import checks, registry
from rsim.api import runtime_env as environments
from rsim.exceptions import RsimError
from rsim.runtime import current, refs

if TYPE_CHECKING:
    from types import TracebackType

    from rsim.runtime.client import Client
    from rsim.runtime.session import BackendSession, SessionConfig
    from rsim.runtime.trace import NullTrace, Trace

__tracebackhide__ = True  # pytest shows the caller's line instead

_T = TypeVar("_T")

_DEFAULT_ADDRESS = "local"
_SIM = "sim"

_lock = threading.RLock()
_session: Session | None = None


class Session:
    """A runtime, from `init` until `shutdown`. As a context manager it is shut down at the end.

    What else the backend has to offer (`tape`, `kill_node` ... in a simulation) are attributes too.
    After the end `now`, `digest`, `trace` and `infeasible` still tell what was.
    """

    def __init__(self, backend: BackendSession, config: SessionConfig) -> None:
        self._backend = backend
        self._config = config
        self._ended = False

    @property
    def address(self) -> str:
        """The address of the backend: "local", "sim" ..."""
        return self._backend.address

    @property
    def trace(self) -> Trace | NullTrace:
        """What has happened so far; empty where it is not recorded."""
        return self._backend.trace

    def now(self) -> float:
        """Seconds since the session began; virtual in a simulation."""
        return self._backend.now()

    def digest(self) -> str:
        """Hex digest of the trace so far. Raises RsimError where there is no trace."""
        return self._backend.digest()

    def infeasible(self) -> list[str]:
        """The tasks that no node can ever run, in words."""
        return self._backend.infeasible()

    def node_names(self) -> list[str]:
        """The living nodes in the order in which they joined; the driver's is the first."""
        return self._backend_to("node_names").node_names()

    def add_node(
        self,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        object_store_memory: int | None = None,
        name: str | None = None,
        memory: int | None = None,
    ) -> str:
        """Let a node join this session, and return its name once all others know it.

        It has workers and an object store of its own; `object_store_memory` is in bytes, by default
        as much as the driver's node has. `memory`: the bytes that tasks can ask for by their option
        of that name. Raises TypeError or ValueError for a bad argument
        (a name that is, or was, another node's), OSError when there is no shared memory for it.
        """
        from rsim.runtime.session import NodeOptions

        options = NodeOptions(
            num_cpus=checks.quantity("num_cpus", num_cpus),
            num_gpus=checks.devices("num_gpus", num_gpus),
            resources=_given(checks.resources, "resources", resources) or {},
            labels=_given(checks.labels, "labels", labels) or {},
            object_store_memory=_given(_bytes, "object_store_memory", object_store_memory),
            name=_given(_name, "name", name),
            memory=_given(_bytes, "memory", memory),
        )
        return self._backend_to("add_node").add_node(options)

    def remove_node(self, name: str, *, graceful: bool = False) -> None:
        """Let a node die as if its machine did: its processes are killed, and its objects lost.

        What the survivors can run or compute again they will. Returns when they know of the death:
        in a simulation after the cluster's `detection_s`, or at once if it is `graceful`, that is,
        if the node says so itself; elsewhere at once. Raises ValueError when there is no such
        living node, or when the driver runs on it.
        """
        self._backend_to("remove_node").remove_node(name, checks.flag("graceful", graceful))

    def shutdown(self) -> None:
        """End this session; does nothing when it has ended."""
        if not self._ended:
            shutdown()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __getitem__(self, key: str) -> object:
        facts = self._facts()
        if key not in facts:
            raise KeyError(f"{key!r}: a session has {', '.join(facts)}")
        return facts[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            value = getattr(self._backend, name)
        except AttributeError:
            message = f"a session of address {self.address!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self) from None
        if callable(value):
            self._backend_to(name)
        return value

    def _backend_to(self, name: str) -> BackendSession:
        """The backend, to do what the name says. Raises RuntimeError when the session has ended."""
        if self._ended:
            raise RuntimeError(f"{name} cannot be called any more: this session has ended")
        return self._backend

    def __repr__(self) -> str:
        facts = " ".join(f"{name}={value!r}" for name, value in self._facts().items() if value)
        return f"<rsim session {facts}, {'ended' if self._ended else 'running'}>"

    def _facts(self) -> dict[str, object]:
        config = self._config
        return {"address": self.address, "namespace": config.namespace, "seed": config.seed}

    def _end(self) -> None:
        try:
            self._backend.shutdown()
        finally:
            self._ended = True


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    seed: int | None = None,
    cluster: object = None,
    faults: object = None,
    policy: object = None,
    ignore_reinit_error: bool = False,
    log_to_driver: bool = True,
    log_dir: str | os.PathLike[str] | None = None,
    spill_limit_bytes: int | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    memory: int | None = None,
    tape: object = None,
    time_limit_s: float | None = None,
) -> Session:
    """Start a runtime in this process, and return its session. The first `.remote()`, `put`, `get`
    or `wait` does so by itself.

    address: "local" (worker processes on this machine) or "sim" (a simulated cluster); by default
        the environment's RSIM_ADDRESS, else "local".
    num_cpus, num_gpus, resources: what the node has to give; by default the CPUs of this machine.
    labels: of the node. namespace: where names of actors are unique; by default this session's own.
    object_store_memory: bytes of shared memory for objects. spill_limit_bytes: how much of them
        may go to disk when that is full; None: no limit. memory: bytes that tasks can ask for.
    runtime_env: of workers. {"env_vars": {"NAME": "value"}}: beside the driver's environment;
        "working_dir", "py_modules": more to import; "worker_process_setup_hook": called first.
    log_to_driver: print what workers print. log_dir: a folder to keep their output in.
    seed, cluster, faults, policy, tape: for a simulation. The seed (by default RSIM_SEED) decides
        every free choice; in its place, a tape (a path, an rsim.sim.Tape or Replay) has choices to
        make again. cluster: an rsim.sim.Cluster or a list of rsim.sim.Node; faults: rsim.sim.Faults
    time_limit_s: when, in virtual time, a driver that waits gets a DeadlockError; default: never.

    Raises RuntimeError when a runtime is running already, unless `ignore_reinit_error`: then its
    session is returned, and the other arguments are ignored. Raises TypeError or ValueError for a
    bad argument, ImportError when the backend's optional dependencies are not installed.
    """
    global _session
    checks.flag("ignore_reinit_error", ignore_reinit_error)
    with _lock:
        running = _running()
        if running is not None:
            if ignore_reinit_error:
                return running
            raise _second(running)
        config = _configured(
            _address(address),
            _scenario(seed, cluster, faults, policy, tape, time_limit_s),
            num_cpus=_given(checks.quantity, "num_cpus", num_cpus),
            num_gpus=_given(checks.devices, "num_gpus", num_gpus),
            resources=_given(checks.resources, "resources", resources) or {},
            labels=_given(checks.labels, "labels", labels) or {},
            object_store_memory=_given(_bytes, "object_store_memory", object_store_memory),
            namespace=_given(checks.name, "namespace", namespace),
            log_to_driver=checks.flag("log_to_driver", log_to_driver),
            log_dir=_given(_folder, "log_dir", log_dir),
            spill_limit_bytes=_given(_limit, "spill_limit_bytes", spill_limit_bytes),
            **environments.settings(_given(environments.job_env, "runtime_env", runtime_env)),
            memory=_given(_bytes, "memory", memory),
        )
        named = "RSIM_ADDRESS" if address is None else "address"
        backend = registry.find(config.address, named)(config)
        _session = Session(backend, config)
        return _session


def _second(running: Session) -> RuntimeError:
    """The error of `init` where there is a session."""
    if _in_task():
        return RuntimeError(
            "rsim.init() was called inside a task, which has a session already. If it is in a "
            "module that a worker has imported, put what only the program is to do under: "
            "if __name__ == '__main__':"
        )
    return RuntimeError(
        f"rsim.init() was called while a runtime is running ({running!r}): call "
        "rsim.shutdown() first, or pass ignore_reinit_error=True to go on with it"
    )


def _address(given: object) -> str:
    if given is None:
        return os.environ.get("RSIM_ADDRESS") or _DEFAULT_ADDRESS
    if not isinstance(given, str):
        raise TypeError(f"address must be a str or None, not {given!r}")
    return given


def _scenario(*values: object) -> dict[str, Any]:
    names = ("seed", "cluster", "faults", "policy", "tape", "time_limit_s")
    return dict(zip(names, values, strict=True))


def _configured(
    address: str, scenario: dict[str, Any], namespace: str | None, **common: Any
) -> SessionConfig:
    from rsim.runtime.session import SessionConfig

    if address == _SIM:
        if scenario["seed"] is None and scenario["tape"] is None:
            scenario["seed"] = _of_environment("RSIM_SEED", int, "a whole number")
        limit_s = scenario["time_limit_s"]
        if limit_s is None:
            limit_s = _of_environment("RSIM_TIME_LIMIT_S", float, "a number of seconds")
        scenario["time_limit_s"] = _given(checks.seconds, "time_limit_s", limit_s)
    else:
        for name, value in scenario.items():
            if value is not None:
                raise ValueError(
                    f"{name} is an argument for address={_SIM!r} only, and the address is "
                    f"{address!r}"
                )
    if namespace is None:
        namespace = "anonymous" if address == _SIM else f"anonymous-{os.urandom(8).hex()}"
    return SessionConfig(address=address, namespace=namespace, **scenario, **common)


def _of_environment(name: str, kind: Callable[[str], _T], what: str) -> _T | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {what}, not {text!r}") from None


def _given(check: Callable[[str, object], _T], name: str, value: object) -> _T | None:
    return None if value is None else check(name, value)


def _bytes(name: str, value: object) -> int:
    return checks.integer(name, value, 1)


def _limit(name: str, value: object) -> int:
    return checks.integer(name, value, 0)


def _folder(name: str, value: object) -> str:
    """An absolute path, where a folder is from now on."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be the path of a folder, not {value!r}")
    path = os.path.abspath(os.fsdecode(value))
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        reason = f"{name} cannot be a folder here: {error.strerror}"
        raise type(error)(error.errno, reason, path) from None
    return path


def _name(name: str, value: object) -> str:
    if not checks.text(name, value):
        raise ValueError(f"{name} must not be empty")
    return str(value)


def shutdown() -> None:
    """End the runtime of this process; does nothing when none is running.

    Raises RuntimeError inside a task.
    """
    global _session
    if _in_task():
        raise RuntimeError("rsim.shutdown() was called inside a task: only the driver can do that")
    with _lock:
        session, _session = _session, None
        if session is None:
            return
        try:
            session._end()
        finally:
            # The backend does so too, but not in a process that was forked from its driver.
            current.client = None
            refs.set_factory(None)


def is_initialized() -> bool:
    """Whether a runtime is running; true inside a task."""
    return current.client is not None


def _init_by_default() -> None:
    init(ignore_reinit_error=True)


start_by_itself: Callable[[], None] = _init_by_default
"""What starts a runtime where none is running; rsim.as_ray sets another."""


def running_client() -> Client:
    """The client that the code running now acts by; a runtime is started if there is none."""
    if current.client is None:
        start_by_itself()
    client = current.client
    if client is None:  # init() has found a session which another thread is ending
        raise RsimError("the session is being shut down")
    return client


class _InsideTask:
    """What a task gets to see of the session it belongs to: that it runs."""

    address = "inside a task"

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"{name} is not known inside a task: ask the driver's session")


def _in_task() -> bool:
    client = current.client
    return client is not None and (_session is None or client is not _session._backend.client)


def _running() -> Session | None:
    """The session that `init` finds running."""
    if not _in_task():
        return _session
    from rsim.runtime.session import SessionConfig

    return Session(cast("BackendSession", _InsideTask()), SessionConfig())


def _at_exit() -> None:
    if _session is not None and not _in_task():
        shutdown()


atexit.register(_at_exit)
