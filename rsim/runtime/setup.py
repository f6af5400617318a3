"""What a driver wants each worker process to begin with: a function, once, before the first task.

Decides how the function gets there, in the worker's first environment, and what it means if it
fails: every task of that worker does, with its error. Must never end the worker: it would be
replaced by another that fails as well, for ever. Owns no state.
"""

from __future__ import annotations

import base64
import importlib
import os
import pickle
from collections.abc import Callable
from typing import Any

from rsim.exceptions import RuntimeEnvSetupError, UnserializableError, text_of, type_name
from rsim.runtime.serialization import serialize_function

VARIABLE = "_RSIM_WORKER_SETUP"
"""Of a worker's environment, until the worker has read it."""

_LIMIT = 120_000
"""No variable of an environment may be longer than 128 KiB."""


def pack(hook: Callable[[], object] | str) -> str:
    """A function, or the path of one as `module.name`, as the value of the variable.

    Raises RuntimeEnvSetupError if it cannot be pickled, ValueError if that is too large.
    """
    try:
        pickled = pickle.dumps(hook) if isinstance(hook, str) else serialize_function(hook)
    except UnserializableError as error:
        raise RuntimeEnvSetupError(f"Failed to export the setup function. {error}") from error
    text = base64.b64encode(pickled).decode()
    if len(text) > _LIMIT:
        raise ValueError(
            f"worker_process_setup_hook={hook!r} is too large, {len(pickled):,} bytes when "
            "pickled: give its path instead, as 'module.name'"
        )
    return text


def run() -> RuntimeEnvSetupError | None:
    """Do what the environment of this worker says, if anything. If that fails, the error."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        hook = pickle.loads(base64.b64decode(text))
        (_found(hook) if isinstance(hook, str) else hook)()
    except (Exception, SystemExit) as error:
        said = f"{type_name(error)}: {text_of(error)}"
        return RuntimeEnvSetupError(f"Failed to execute the setup hook method. It raised {said}")
    return None


def _found(path: str) -> Callable[[], Any]:
    module, _, name = path.rpartition(".")
    found: Callable[[], Any] = getattr(importlib.import_module(module), name)
    return found
