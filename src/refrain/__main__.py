"""`python -m refrain`: the command line."""

from refrain.cli import run

if __name__ == "__main__":
    run()
