"""`python -m rsim.as_ray script.py [args]`: run an unchanged Ray program on rsim.

Decides which options are its own: those before the program, and a `--backend` at the very end. The
program sees all other arguments, runs as `__main__`, and its exit code is that of the process. Owns
no state.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from rsim.as_ray import install
from rsim.runtime.script import run_script

_USAGE = """python -m rsim.as_ray [options] script.py [args ...]
       python -m rsim.as_ray [options] -m module [args ...]
       python -m rsim.as_ray [options] - [args ...]"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m rsim.as_ray", usage=_USAGE, description="Run a program of Ray on rsim."
    )
    parser.add_argument(
        "--backend",
        choices=("sim", "local"),
        help="where to run it; by default what RSIM_ADDRESS says, else local",
    )
    parser.add_argument("--seed", type=int, help="of the simulation; for --backend sim only")
    parser.add_argument("-m", dest="module", action="store_true", help="program is a module")
    parser.add_argument("program", help="a script, a module or - for standard input")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the program")
    return parser


def _with_own_first(argv: list[str]) -> list[str]:
    """The command line with `--backend` before the program where it is given at the very end."""
    if argv and argv[0].startswith("--backend"):
        return argv
    for count in (1, 2):
        backend = " ".join(argv[-count:]).replace("=", " ")
        if backend in ("--backend sim", "--backend local"):
            return [*argv[-count:], *argv[:-count]]
    return argv


def main() -> None:
    """Run the program that the command line names, to its end."""
    parser = _parser()
    given = parser.parse_args(_with_own_first(sys.argv[1:]))
    install(given.backend)
    if given.seed is not None:
        if os.environ.get("RSIM_ADDRESS") != "sim":
            parser.error("--seed is for a simulation: add --backend sim")
        os.environ["RSIM_SEED"] = str(given.seed)
    if os.environ.get("RSIM_ADDRESS") == "sim":
        from rsim.sim.virtual import standing

        standing.stand()
    sys.argv = [given.program, *given.args]
    if given.module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(given.program, run_name="__main__", alter_sys=True)
    else:
        run_script(given.program)


if __name__ == "__main__":
    main()
