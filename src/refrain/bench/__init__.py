"""Measurements of speed, paired in one run. Never a test."""

from .cache import bench_cache as bench_cache
from .train import bench_train as bench_train
from .weight_drop import bench_weight_drop as bench_weight_drop
