"""Pieces of words as tokens."""
