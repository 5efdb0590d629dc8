"""Measurements of speed, paired in one run. Never a test."""

from .train import bench_train as bench_train
