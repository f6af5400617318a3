"""`python -m rsim.sim script.py [args]`: run a script whose sessions are simulated.

`rsim run --backend sim` runs it so. Decides that virtual time stands still for the script while it
has no session. Owns no state.
"""

from __future__ import annotations

import sys

from rsim.runtime.script import run_script
from rsim.sim.virtual import standing


def main() -> None:
    """Run the script that the command line names, to its end."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m rsim.sim script.py [args ...]")
    if not sys.flags.safe_path:
        del sys.path[0]  # where `python -m` was called: not on the path of `python script.py`
    del sys.argv[0]
    standing.stand()
    run_script(sys.argv[0])


if __name__ == "__main__":
    main()
