"""Imported in each worker process before its first task (see RSIM_PRELOAD): Ray's names are there.

Decides nothing, owns nothing.
"""

from rsim.as_ray import install

install()
