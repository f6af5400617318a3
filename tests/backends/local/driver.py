"""A driver without the public API: a local session, and tasks given as plain functions."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psutil

from rsim.backends.local.backend import start
from rsim.backends.local.session import LocalSession
from rsim.core.records import TaskOptions
from rsim.runtime.refs import ObjectRef
from rsim.runtime.serialization import serialize_function
from rsim.runtime.session import SessionConfig

DEFAULTS = TaskOptions()


class Driver:
    """Submits functions to a session."""

    def __init__(self, session: LocalSession) -> None:
        self.session = session
        self.client = session.client
        self._functions: dict[Callable[..., Any], bytes] = {}

    def run(
        self, function: Callable[..., Any], *args: Any, options: TaskOptions = DEFAULTS
    ) -> ObjectRef[Any]:
        """Submit a call."""
        function_id = self._functions.get(function)
        if function_id is None:
            blob = serialize_function(function)
            function_id = self._functions[function] = blake2b(blob, digest_size=16).digest()
            self.client.channel.export_function(function_id, blob)
        context = self.client.context
        template = self.client.template(context, function_id, function.__name__, options)
        return self.client.submit(context, template, args, {})[0]

    def get(self, *refs: ObjectRef[Any], timeout_s: float | None = 30) -> Any:
        """The values; the value of one ref."""
        values = self.client.get(refs, timeout_s)
        return values if len(refs) > 1 else values[0]

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a call and wait for it."""
        return self.get(self.run(function, *args))

    def guardian(self) -> psutil.Process:
        """The guardian process."""
        found = [
            child
            for child in psutil.Process().children()
            if "guardian" in " ".join(child.cmdline())
        ]
        assert len(found) == 1
        return found[0]


@contextmanager
def driving(num_cpus: float = 2, **config: Any) -> Iterator[Driver]:
    """A session for the length of a with block."""
    session = start(SessionConfig(num_cpus=num_cpus, **config))
    try:
        yield Driver(session)
    finally:
        session.shutdown()


def traces_of(pid: int) -> list[str]:
    """Paths that a driver with this pid has left."""
    import tempfile

    roots = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    return [str(path) for root in roots for path in root.glob(f"rsim-{pid}-*")]


def my_pid() -> int:
    """A task: the pid of its worker."""
    return os.getpid()
