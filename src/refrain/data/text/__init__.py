"""Plain text: finding its splits, reading it in blocks, and windows over its token ids."""
