"""Files on disk: the checkpoint format, run folders, plain JSON and the cache folder."""
