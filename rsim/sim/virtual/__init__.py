"""The virtual world of simulated user code: its time, its randomness, and the fence around it.

Decides what `time`, `datetime`, `random`, `asyncio` and their like mean while the engine runs user
code, and which calls are forbidden there. Must never import the engine, nor behave differently
outside user code. Owns the patches of the standard library, between `install` and `remove`.
"""

from rsim.sim.virtual.adoption import adopt_running
from rsim.sim.virtual.clock import DEFAULT_EPOCH_NS
from rsim.sim.virtual.context import Current, ParkingContext, VirtualContext
from rsim.sim.virtual.escapes import ESCAPES, LOOP_ESCAPES, Escape
from rsim.sim.virtual.installation import Virtualisation, install
from rsim.sim.virtual.loop import VirtualEventLoop
from rsim.sim.virtual.patching import Patcher

__all__ = [
    "DEFAULT_EPOCH_NS",
    "ESCAPES",
    "LOOP_ESCAPES",
    "Current",
    "Escape",
    "ParkingContext",
    "Patcher",
    "VirtualContext",
    "VirtualEventLoop",
    "Virtualisation",
    "adopt_running",
    "install",
]
