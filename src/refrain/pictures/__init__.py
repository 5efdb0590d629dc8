"""Every plot and page: plain numbers in, PNG, SVG or HTML out. The only room that imports matplotlib."""

from .bench import bench_picture as bench_picture
from .canvas import check_matplotlib as check_matplotlib
