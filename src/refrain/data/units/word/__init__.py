"""Words as tokens."""
