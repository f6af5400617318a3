"""The environments in which tasks, actors and whole jobs run.

Decides which fields of a runtime environment are there: environment variables, packages that are
installed, the driver's own Python, and for a job a working directory, folders of modules and what
its workers begin with. Must never accept a field that has no effect. Owns no state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rsim.api.packages import are_installed

if TYPE_CHECKING:
    from rsim.core.records import EnvVars

_WITHOUT_EFFECT = ("config", "excludes")
"""How Ray prepares an environment, and what it need not copy; here nothing is."""
_PACKAGES = ("pip", "uv")
_HOOK = "worker_process_setup_hook"
_ARCHIVES = (".zip", ".whl", ".jar")


class RuntimeEnv(dict[str, Any]):
    """A dict of the fields of a runtime environment. Raises as `runtime_env` for bad `env_vars`, or
    a bad `config`.
    """

    def __init__(self, **fields: Any) -> None:
        _check_variables("runtime_env", fields.get("env_vars"))
        check_config(fields.get("config"))
        super().__init__({name: value for name, value in fields.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        """The environment variables."""
        return dict(self.get("env_vars") or {})


def runtime_env(name: str, value: object) -> RuntimeEnv:
    """The runtime environment of a task or actor: a dict with the field `env_vars`, a dict of str.

    Raises TypeError or ValueError for what is none, NotImplementedError for any other field.
    """
    fields = _fields(name, value)
    for field, given in fields.items():
        if field != "env_vars" and not (field == "working_dir" and _is_here(given)):
            raise NotImplementedError(
                f"{name}={{{field!r}: {given!r}}} is not there: the runtime environment of a task "
                "or actor consists of env_vars; code, packages and the working directory are the "
                "job's"
            )
    return RuntimeEnv(env_vars=fields.get("env_vars"))


def job_env(name: str, value: object) -> RuntimeEnv:
    """The runtime environment of a job: `env_vars`, `working_dir`, `py_modules`, those two as
    absolute paths: a folder to be in, and folders with modules; `worker_process_setup_hook`.

    Raises as `runtime_env`; ValueError for a folder that is not there.
    """
    fields = _fields(name, value)
    for field, given in fields.items():
        if field not in ("env_vars", "working_dir", "py_modules", _HOOK):
            raise NotImplementedError(
                f"{name}={{{field!r}: {given!r}}} is not there: a job's runtime environment "
                f"consists of env_vars, working_dir, py_modules and {_HOOK}; packages are the "
                "driver's"
            )
    folder, modules = fields.get("working_dir"), fields.get("py_modules", ())
    if isinstance(modules, str) or not isinstance(modules, Iterable):
        raise TypeError(f"{name}['py_modules'] must be a list of paths or modules, not {modules!r}")
    hook = fields.get(_HOOK)
    if hook is not None and not (callable(hook) or _is_path(hook)):
        raise TypeError(f"{name}[{_HOOK!r}] must be a function or 'module.name', not {hook!r}")
    return RuntimeEnv(
        env_vars=fields.get("env_vars"),
        working_dir=_folder(f"{name}['working_dir']", folder) if folder else None,
        py_modules=[_parent(f"{name}['py_modules']", module) for module in modules] or None,
        worker_process_setup_hook=hook,
    )


def _fields(name: str, value: object) -> dict[str, Any]:
    """The fields that say something."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict or a RuntimeEnv, not {value!r}")
    _check_variables(name, value.get("env_vars"))
    check_config(value.get("config"))
    return {field: it for field, it in value.items() if it and not _is_idle(field, it)}


def check_config(config: object) -> None:
    """How Ray prepares an environment has no effect, but must make sense. Raises TypeError or
    ValueError.
    """
    if config is None:
        return
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict or a RuntimeEnvConfig, not {config!r}")
    limit_s = config.get("setup_timeout_seconds", -1)
    if not isinstance(limit_s, int):
        raise TypeError(f"setup_timeout_seconds must be of type int, not {limit_s!r}")
    if limit_s <= 0 and limit_s != -1:
        raise ValueError(
            f"setup_timeout_seconds must be greater than zero or equals to -1, not {limit_s}"
        )
    eager = config.get("eager_install", True)
    if not isinstance(eager, bool):
        raise TypeError(f"eager_install must be a boolean, not {eager!r}")


def _is_idle(field: str, given: object) -> bool:
    """Whether it asks for nothing that is not there anyway."""
    if field == "py_executable":
        return given == sys.executable
    return field in _WITHOUT_EFFECT or (field in _PACKAGES and are_installed(given))


def _folder(what: str, given: object) -> str:
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{what} must be a path, not {given!r}")
    path = os.fspath(given)
    if "://" in path and not path.endswith(_ARCHIVES):
        raise ValueError(f"{what} must be a folder, or a URI that ends in .zip, not {path!r}")
    if path.endswith(_ARCHIVES):
        raise NotImplementedError(f"{what}={path!r} is not there: only folders on this machine are")
    if not os.path.isdir(path):
        raise ValueError(f"{what} must be an existing directory, not {path!r}")
    return os.path.abspath(path)


def _parent(what: str, given: object) -> str:
    """The folder from which a package, given as a module or by its path, can be imported."""
    path: str
    if isinstance(given, ModuleType):
        file = getattr(given, "__file__", None)
        if not file:
            raise ValueError(f"{what}: {given!r} is not a module of a file")
        path = os.path.dirname(file) if hasattr(given, "__path__") else file
    elif isinstance(given, str | os.PathLike) and _is_module(os.fspath(given)):
        path = os.fspath(given)
    else:
        path = _folder(what, given)
    return os.path.dirname(os.path.abspath(path))


def _is_path(hook: object) -> bool:
    names = hook.split(".") if isinstance(hook, str) else []
    return len(names) > 1 and all(name.isidentifier() for name in names)


def _is_module(path: str) -> bool:
    return path.endswith(".py") and os.path.isfile(path)


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
    if not given:
        return ()
    variables = given.env_vars().items()
    return tuple((str.__str__(key), str.__str__(text)) for key, text in variables)


def settings(given: RuntimeEnv | None) -> dict[str, Any]:
    """What a job's environment says to a backend, by the names of the arguments."""
    folder = (given or RuntimeEnv()).get("working_dir")
    modules = (given or RuntimeEnv()).get("py_modules", ())
    code = [folder, *modules] if folder else modules
    hook = (given or RuntimeEnv()).get(_HOOK)
    if hook is not None:
        from rsim.runtime.setup import pack

        hook = pack(hook)
    return {
        "env_vars": variables_of(given),
        "working_dir": folder,
        "code": tuple(dict.fromkeys(code)),
        "setup": hook or "",
    }
