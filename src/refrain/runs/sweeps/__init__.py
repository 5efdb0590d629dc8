"""Sweeps: a list of cells, each a run with its own settings, which any number of workers train in one folder."""
