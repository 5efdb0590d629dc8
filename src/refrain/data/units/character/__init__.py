"""Characters as tokens."""
