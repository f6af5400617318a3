"""The peer Ray, with two CPUs and without what it does not need here.

Runs under whichever interpreter has Ray.
"""

import os

from benchmarks import tasks

if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    tasks.main(
        "ray",
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
