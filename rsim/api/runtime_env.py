"""The environments in which tasks, actors and whole jobs run.

Decides which fields of a runtime environment are there: environment variables, and a working
directory that is the present one. Must never accept a field that has no effect. Owns no state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsim.core.records import EnvVars

_WITHOUT_EFFECT = ("config",)
"""How Ray prepares an environment; here there is nothing to prepare."""


class RuntimeEnv(dict[str, Any]):
    """A dict of the fields of a runtime environment. Raises as `runtime_env` for bad `env_vars`."""

    def __init__(self, **fields: Any) -> None:
        _check_variables("runtime_env", fields.get("env_vars"))
        super().__init__({name: value for name, value in fields.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        """The environment variables."""
        return dict(self.get("env_vars") or {})


def runtime_env(name: str, value: object) -> RuntimeEnv:
    """A runtime environment, which is a dict with the field `env_vars`, a dict of str.

    Raises TypeError or ValueError for what is none, NotImplementedError for any other field.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict or a RuntimeEnv, not {value!r}")
    for field, given in value.items():
        if field in ("env_vars", *_WITHOUT_EFFECT) or not given:
            continue
        if field == "working_dir" and _is_here(given):
            continue
        raise NotImplementedError(
            f"{name}={{{field!r}: {given!r}}} is not there: a runtime environment consists of "
            "env_vars; code, packages and the working directory are the driver's"
        )
    variables = value.get("env_vars")
    _check_variables(name, variables)
    return RuntimeEnv(env_vars=dict(variables)) if variables else RuntimeEnv()


def _check_variables(name: str, variables: object) -> None:
    if variables is None:
        return
    what = f"{name}['env_vars']"
    if not isinstance(variables, Mapping):
        raise TypeError(f"{what} must be of type Dict[str, str], not {variables!r}")
    for key, value in variables.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"{what} must be of type Dict[str, str], not {{{key!r}: {value!r}}}")
        if not key or "=" in key or "\0" in key + value or not _encodes(key + value):
            raise ValueError(f"{what} cannot set {key!r} to {value!r} in an environment")


def _encodes(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def unless_empty(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Changes of options. An empty environment is none: as in Ray, what was given stays."""
    if "runtime_env" in changes and changes["runtime_env"] in (None, {}):
        return {name: value for name, value in changes.items() if name != "runtime_env"}
    return changes


def _is_here(folder: object) -> bool:
    try:
        return os.path.samefile(folder, os.getcwd())  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return False


def variables_of(given: RuntimeEnv | None) -> EnvVars:
    """The variables, as the core is told."""
    return tuple(given["env_vars"].items()) if given else ()
