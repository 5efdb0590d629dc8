"""Reports of runs: what a run folder holds, as a page or as curves."""
