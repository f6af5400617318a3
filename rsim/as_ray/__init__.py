"""A drop-in for Ray: while installed, `import ray` and everything below it resolve to rsim.

    import rsim.as_ray
    rsim.as_ray.install()      # or: python -m rsim.as_ray script.py; pytest --rsim-as-ray
    import ray                 # rsim, under Ray's names

Decides when Ray's names are served, and undoes all of it. Must never hide that something is absent:
what Ray has and rsim does not raises NotImplementedError that names it, at its first use. Owns what
`install` has changed in this process: the finder, environment variables, an entry of sys.path,
the dialect of options and the attributes that only Ray's objects have.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

__all__ = ["install", "installed", "uninstall"]

_BACKENDS = ("sim", "local")
_SHADOW = Path(__file__).parent / "shadow"
"""A folder with a package `ray` that installs this one: for Pythons that the program starts."""

_TIMER_SLACK_S = "50e-6"
"""In a simulation: Ray's programs were written for clocks by which a sleep of 1 s takes longer."""

_undo: ExitStack | None = None


def install(backend: str | None = None) -> None:
    """Serve `import ray` by rsim, in this process and in those that it starts.

    backend: "sim" or "local", where ray.init() then runs; None: what the environment's RSIM_ADDRESS
    says, else "local". Real Ray, if it is installed, is hidden until `uninstall`. A second call
    changes the backend, if it names one. Raises ValueError for another backend.
    """
    global _undo
    if backend is not None and backend not in _BACKENDS:
        names = " or ".join(repr(each) for each in _BACKENDS)
        raise ValueError(f"backend must be {names}, not {backend!r}")
    if _undo is None:
        with ExitStack() as undo:
            _set_up(undo)
            _undo = undo.pop_all()
    if backend is not None:
        _setenv(_undo, "RSIM_ADDRESS", backend)


def installed() -> bool:
    """Whether `import ray` is served by rsim now."""
    return _undo is not None


def uninstall() -> None:
    """Undo `install`: the real Ray, if there is one, is found again by the next import."""
    global _undo
    if _undo is not None:
        undo, _undo = _undo, None
        undo.close()


def _set_up(undo: ExitStack) -> None:
    from rsim.api import session as rsim_session
    from rsim.as_ray import attributes, cluster, finder, logs, options, session, words
    from rsim.runtime import errors, refs

    undo.callback(finder.remove)
    finder.insert()
    undo.callback(options.forget)
    options.learn()
    undo.callback(words.forget)
    words.learn()
    undo.callback(logs.forget)
    undo.callback(cluster.forget_all)
    undo.callback(attributes.detach)
    attributes.attach()
    undo.callback(setattr, refs, "may_leave", refs.may_leave)
    refs.may_leave = attributes.may_leave
    undo.callback(setattr, errors, "unseen_handler", errors.unseen_handler)
    errors.unseen_handler = session.handle_unseen
    undo.callback(setattr, rsim_session, "start_by_itself", rsim_session.start_by_itself)
    rsim_session.start_by_itself = session.start_by_itself
    _setenv(undo, "RSIM_PRELOAD", _with("rsim.as_ray.preload", os.environ.get("RSIM_PRELOAD"), " "))
    _setenv(undo, "RSIM_PROCESS_PREFIX", "ray")
    if "RSIM_TIMER_SLACK_S" not in os.environ:
        _setenv(undo, "RSIM_TIMER_SLACK_S", _TIMER_SLACK_S)
    _setenv(undo, "PYTHONPATH", _with(str(_SHADOW), os.environ.get("PYTHONPATH"), os.pathsep))
    _lengthen_path(undo)


def _lengthen_path(undo: ExitStack) -> None:
    """Let processes of multiprocessing find the shadow: they take over this one's path."""
    shadow = str(_SHADOW)
    if shadow not in sys.path:
        sys.path.insert(1, shadow)  # before a real Ray, after the program's own folder
        undo.callback(_shorten_path, shadow)


def _shorten_path(shadow: str) -> None:
    if shadow in sys.path:
        sys.path.remove(shadow)


def _with(first: str, others: str | None, separator: str) -> str:
    parts = [part for part in (others or "").split(separator) if part and part != first]
    return separator.join((first, *parts))


def _setenv(undo: ExitStack, name: str, value: str) -> None:
    before = os.environ.get(name)
    os.environ[name] = value
    if before is None:
        undo.callback(os.environ.pop, name, None)
    else:
        undo.callback(os.environ.__setitem__, name, before)
