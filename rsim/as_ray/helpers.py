"""Small functions of ray.util and of Ray's own utilities.

Decides nothing about programs. Owns which messages log_once has let through.
"""

from __future__ import annotations

import asyncio
import copyreg
import gc
import operator
import os
import sys
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

_logged: set[str] = set()
_logging_once = True


def get_node_ip_address(address: str | None = None) -> str:
    """The address of this machine: all nodes are on it."""
    return "127.0.0.1"


def get_node_instance_id() -> str:
    """Of a machine in a cloud, which this is not."""
    return ""


def dumps_debug(obj: Any, *args: Any, **kwargs: Any) -> bytes:
    """cloudpickle.dumps; what it raises is preceded by a report on what cannot be pickled."""
    import cloudpickle

    from rsim.util import inspect_serializability

    try:
        return bytes(cloudpickle.dumps(obj, *args, **kwargs))
    except Exception:
        inspect_serializability(obj)
        raise


def log_once(key: str) -> bool:
    """True the first time that it is called with this key."""
    first = key not in _logged
    _logged.add(key)
    return first and _logging_once


def reset_log_once(key: str | None = None) -> None:
    """Let log_once return True again for this key, or for all."""
    if key is None:
        _logged.clear()
    else:
        _logged.discard(key)


def disable_log_once_globally() -> None:
    """Make log_once return False."""
    global _logging_once
    _logging_once = False


def enable_periodic_logging() -> None:
    """Make log_once return True again, once for each key."""
    global _logging_once
    _logging_once = True
    _logged.clear()


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Pickle instances of `cls` as what `serializer` makes of them, in this process."""

    def reduce(instance: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return deserializer, (serializer(instance),)

    copyreg.pickle(cls, reduce)


def deregister_serializer(cls: type) -> None:
    """Pickle instances of `cls` as before."""
    copyreg.dispatch_table.pop(cls, None)


def learn_serializers() -> None:
    """Pickle what Ray can, and pickle by itself cannot: applications of Starlette (FastAPI), whose
    state cannot be asked anything before it is whole. Where the program has not imported that,
    there is none.
    """
    starlette = sys.modules.get("starlette.datastructures")
    if starlette is not None:
        kind = starlette.State
        register_serializer(kind, serializer=operator.attrgetter("_state"), deserializer=kind)


is_client_mode_enabled = False


def client_mode_should_convert() -> bool:
    """Whether calls go through Ray Client: no."""
    return False


def client_mode_hook(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is."""
    return function


@contextmanager
def disable_client_hook() -> Iterator[None]:
    """Do not go through Ray Client for a while: it never does."""
    yield


@contextmanager
def connect_to_client_or_not(connect_to_client: bool) -> Iterator[None]:
    """As a driver, for a while; NotImplementedError if it shall be through Ray Client."""
    if connect_to_client:
        raise NotImplementedError("Ray Client (ray://) is not in rsim")
    yield


async def _wait_async(
    refs: list[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """ray.wait for coroutines."""
    import rsim

    if num_returns < 1:
        raise ValueError(f"Invalid number of refs to wait for: {num_returns}")
    ready, others = rsim.wait(refs, num_returns=num_returns, timeout=0, fetch_local=fetch_local)
    if len(ready) == num_returns:
        return ready, others
    futures = {asyncio.ensure_future(ref): ref for ref in refs}
    left = time.monotonic() + timeout if timeout is not None else None
    pending = set(futures)
    while pending and len(futures) - len(pending) < num_returns:
        limit = None if left is None else max(0.0, left - time.monotonic())
        done, pending = await asyncio.wait(
            pending, timeout=limit, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
    for future in pending:
        future.cancel()
    return rsim.wait(refs, num_returns=num_returns, timeout=0, fetch_local=fetch_local)


def get_ray_doc_version() -> str:
    """Which version of Ray's documentation applies."""
    return "latest"


def global_gc() -> None:
    """Collect garbage, here."""
    gc.collect()


def reset_ray_address(temp_dir: str | None = None) -> None:
    """Forget the address of the last cluster: it is not written anywhere."""


def _internal_kv_reset() -> None:
    """Forget Ray's key-value store, which rsim does not have."""


def get_or_create_event_loop() -> asyncio.AbstractEventLoop:
    """The running event loop, or the current one, or a new one that is the current one then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there was none, from 3.12 on
        try:
            return asyncio.get_event_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            return loop


def run_background_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task on the running event loop."""
    task = get_or_create_event_loop().create_task(coroutine)
    background_tasks.add(task)
    task.add_done_callback(background_tasks.discard)
    return task


background_tasks: set[asyncio.Task[Any]] = set()
"""Those that run."""


def hex_to_binary(digits: str) -> bytes:
    """The bytes that hex digits are."""
    return bytes.fromhex(digits)


def binary_to_hex(binary: bytes) -> str:
    """Bytes as hex digits."""
    return binary.hex()


def decode(text: bytes | str | None, allow_none: bool = False, encode_type: str = "utf-8") -> str:
    """Bytes as text; None as "" if allowed."""
    if text is None and allow_none:
        return ""
    if not isinstance(text, bytes):
        raise ValueError(f"there are bytes to decode, and {text!r} is none")
    return text.decode(encode_type)


def build_address(host: str, port: int | str) -> str:
    """A host and a port in one."""
    return f"{host}:{port}"


def get_system_memory(*_files: str) -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def get_num_cpus(*_options: object, **_more: object) -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def format_error_message(exception_message: str, task_exception: bool = False) -> str:
    """The message, without what Ray leaves out of tracebacks: nothing."""
    return exception_message


def env_bool(key: str, default: bool) -> bool:
    """An environment variable as a bool."""
    value = os.environ.get(key)
    return default if value is None else value.lower() in ("1", "true")


def env_integer(key: str, default: int) -> int:
    """An environment variable as an int."""
    value = os.environ.get(key, "")
    return int(value) if value.isdigit() else default


def env_float(key: str, default: float) -> float:
    """An environment variable as a float."""
    return float(os.environ.get(key, default))
