"""Values of the option `scheduling_strategy`, beside the strings "DEFAULT" and "SPREAD"."""

from rsim.api.options import NodeAffinitySchedulingStrategy

__all__ = ["NodeAffinitySchedulingStrategy"]
