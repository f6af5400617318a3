"""A joblib backend: `Parallel` runs its batches in the actors of a pool.

Decides how many batches run at once. Must never be imported without joblib, which is optional. Owns
the pool of one `Parallel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib import register_parallel_backend
from joblib._parallel_backends import MultiprocessingBackend

from rsim.util.multiprocessing import AsyncResult, Callback, Pool, default_processes

NAME = "rsim"


def register_rsim() -> None:
    """Make the backend "rsim" known to joblib: `joblib.parallel_config(backend="rsim")`.

    Raises ImportError when joblib is not installed.
    """
    register_parallel_backend(NAME, RsimBackend)


class RsimBackend(MultiprocessingBackend):  # type: ignore[misc]
    """The backend "rsim". actor_options: those of `rsim.remote` for the actors of its pool."""

    supports_timeout = True
    # No thread learns that a batch is done: joblib has to ask, and callbacks run then.
    supports_retrieve_callback = False

    def __init__(self, actor_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._actor_options = actor_options or {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches run at once; -1: as many as this machine has CPUs, -2: one less ...

        Raises ValueError for 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs must be 1 or more, or negative, not 0")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, self._cpus() + 1 + n_jobs)

    def _cpus(self) -> int:
        """What negative numbers of jobs count from."""
        return default_processes()

    def submit(self, func: Callable[[], Any], callback: Callback | None = None) -> AsyncResult:
        """Call `func` in an actor. `callback` gets its result, or what it raised."""
        pool: Pool = self._get_pool()
        return pool.apply_async(func, (), {}, callback, callback)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Make the pool; how many batches will run at once."""
        count = self.effective_n_jobs(n_jobs)
        self._pool = Pool(count, **self._actor_options)
        self.parallel = parallel
        return count
