"""On whose behalf the code that is running now acts.

Decides nothing. Must never be imported by the core. Owns one variable: set once in a driver or
worker process, and at every switch of greenlets where several of them share a process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsim.runtime.client import Client

client: Client | None = None
