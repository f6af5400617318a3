"""What users import beside the calls themselves; named and arranged as in Ray."""

from rsim.util import scheduling_strategies

__all__ = ["scheduling_strategies"]
