"""Bytes as tokens."""
