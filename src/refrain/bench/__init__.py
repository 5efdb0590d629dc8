"""Measurements of speed, in which all candidates take turns, and of compressors and taggers. No test needs them."""

from .cache import bench_cache as bench_cache
from .cells import bench_cells as bench_cells
from .compress import bench_compress as bench_compress
from .compressors import bench_compressors as bench_compressors
from .compressors import compressors as compressors
from .export import bench_export as bench_export
from .group_lasso import bench_group_lasso as bench_group_lasso
from .load import bench_load as bench_load
from .score import bench_score as bench_score
from .serve import bench_serve as bench_serve
from .sparse import bench_sparse as bench_sparse
from .step import bench_step as bench_step
from .tag import bench_tag as bench_tag
from .train import bench_train as bench_train
from .weight_drop import bench_weight_drop as bench_weight_drop
