"""`python -m rsim`: the command line, also where the command `rsim` is not on the path."""

from rsim.cli.main import main

if __name__ == "__main__":
    main(prog_name="rsim")
