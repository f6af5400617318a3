"""Values of the option `scheduling_strategy`, beside the strings "DEFAULT" and "SPREAD"."""

from rsim.api.groups import PlacementGroupSchedulingStrategy
from rsim.api.labels import DoesNotExist, Exists, In, NodeLabelSchedulingStrategy, NotIn
from rsim.api.placement import NodeAffinitySchedulingStrategy

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]
