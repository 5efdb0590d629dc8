"""N-gram models with back-off: their files, and their probabilities of the words of a network's vocabulary."""
