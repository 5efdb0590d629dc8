"""Plots and HTML pages made from plain numbers, as PNG, SVG or HTML. Only this package imports matplotlib."""

from .bench import bench_picture as bench_picture
from .canvas import check_matplotlib as check_matplotlib
