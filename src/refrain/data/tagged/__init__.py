"""Tagged sentences: reading CoNLL-U and columns, a vocabulary of words and tags, and batches of sentences."""
