"""What is kept on disk: the checkpoint format, run folders, plain JSON, the cache folder."""
