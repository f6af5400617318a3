"""What starting a runtime takes, and what a backend gives back.

Decides the fields of a session's and of a node's configuration. Must never know a backend. Owns no
state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from rsim.core.records import EnvVars
from rsim.runtime.client import Client
from rsim.runtime.setup import VARIABLE
from rsim.runtime.trace import NullTrace, Trace


@dataclass(frozen=True)
class SessionConfig:
    """The arguments of ``rsim.init``, checked for type and range. None: the backend's default."""

    address: str = "local"
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    object_store_memory: int | None = None
    namespace: str = ""
    seed: int | None = None
    cluster: object = None
    faults: object = None
    policy: object = None
    log_to_driver: bool = True
    log_dir: str | None = None
    spill_limit_bytes: int | None = None
    env_vars: EnvVars = ()
    working_dir: str | None = None
    """The folder that workers begin in; None: the driver's."""
    code: tuple[str, ...] = ()
    """Folders of modules that workers can import, before those that the driver can."""
    setup: str = ""
    """What workers begin with (see `setup.py`); empty: nothing."""
    memory: int | None = None
    tape: object = None
    time_limit_s: float | None = None

    @property
    def worker_vars(self) -> EnvVars:
        """What the environment of a new worker has besides the driver's."""
        return (*self.env_vars, (VARIABLE, self.setup)) if self.setup else self.env_vars


@dataclass(frozen=True)
class NodeOptions:
    """The arguments of ``Session.add_node``, checked for type and range. None: the backend's
    default.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    object_store_memory: int | None = None
    name: str | None = None
    memory: int | None = None


class BackendSession(Protocol):
    """A running backend."""

    client: Client
    address: str
    trace: Trace | NullTrace

    def now(self) -> float:
        """Seconds since the session began; virtual where time is."""

    def digest(self) -> str:
        """Hex digest of the trace so far. RsimError where there is no trace."""

    def infeasible(self) -> list[str]:
        """Tasks that no node can ever run, in words."""

    def add_node(self, options: NodeOptions) -> str:
        """Let a node join; its name. When this returns all other machines know it. ValueError when
        its name is, or was, another node's.
        """

    def remove_node(self, name: str, graceful: bool) -> None:
        """Let a node die; ``graceful``: it says so itself. When this returns all others know it.
        ValueError when there is no such living node, or it is the driver's.
        """

    def node_names(self) -> list[str]:
        """The living nodes in the order in which they joined, the driver's first."""

    def shutdown(self) -> None:
        """End the backend and leave nothing behind. May be called again."""
