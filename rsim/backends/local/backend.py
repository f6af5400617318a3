"""The local backend: a driver that embeds its node, worker processes, shared memory; no daemon, no port.

Decides how the parts are put together, and in which order they come and go. Must never leave a process, a segment, a
socket or a folder behind, however the session ends. Owns the session.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rsim.backends.local.channel import DriverChannel
from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.logs import Output
from rsim.backends.local.patience import Patience
from rsim.backends.local.processes import WorkerProcesses
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import PREFIX, SHM_ROOT, Segment, default_capacity_bytes, sweep
from rsim.backends.local.spill import SpillFolder
from rsim.backends.local.warden import Warden
from rsim.core import events
from rsim.core.choices import FirstChoice
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import driver_task_id
from rsim.core.messages import GLOBAL
from rsim.core.node import Node
from rsim.core.records import DRIVER, RESOURCE_UNITS, Demand, TaskSpec
from rsim.core.scheduler import NodeConfig
from rsim.exceptions import RsimError
from rsim.runtime.client import Client
from rsim.runtime.host import Host
from rsim.runtime.ports import Ports
from rsim.runtime.session import SessionConfig
from rsim.runtime.trace import NullTrace

NODE = "local"
_PIPELINE_DEPTH = 16
