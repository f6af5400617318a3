"""The command `rsim`.

Decides how its options become the environment that a program's `rsim.init()` reads. Must never do
anything to the program itself: it runs as `python script.py` would run it, but for the clocks that
it reads outside its sessions when they are simulated. Owns no state.
"""

from __future__ import annotations

import os
import sys

import click

import rsim

_LITERAL_ARGUMENTS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rsim.__version__, message="rsim %(version)s")
def main() -> None:
    """One scheduling core under a simulated and a real cluster."""


@main.command(context_settings=_LITERAL_ARGUMENTS)
@click.option(
    "--backend",
    type=click.Choice(["sim", "local"]),
    help="Where to run it; by default what RSIM_ADDRESS says, else local.",
)
@click.option("--seed", type=int, help="Of the simulation; for the backend sim only.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(backend: str | None, seed: int | None, script: str, args: tuple[str, ...]) -> None:
    """Run SCRIPT with its ARGS, unchanged, on a backend.

    What the script itself gives to rsim.init() comes first.
    """
    environment = dict(os.environ)
    if backend is not None:
        environment["RSIM_ADDRESS"] = backend
    if seed is not None:
        if environment.get("RSIM_ADDRESS") != "sim":
            raise click.UsageError("--seed is for a simulation: add --backend sim")
        environment["RSIM_SEED"] = str(seed)
    sys.stdout.flush()
    sys.stderr.flush()
    runner = ["-m", "rsim.sim"] if environment.get("RSIM_ADDRESS") == "sim" else []
    os.execve(sys.executable, [sys.executable, *runner, script, *args], environment)
