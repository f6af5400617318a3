"""Imported in each worker process before its first task (see RSIM_PRELOAD): Ray's names are there,
and logging is as the driver has said.

Decides nothing, owns nothing.
"""

from rsim.as_ray import install, logs

install()
logs.configure_worker()
