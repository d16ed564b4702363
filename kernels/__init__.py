"""streamsr's CUDA kernels: surfaces <-> planes <-> levels, attention, resampling. CuPy launches them, and is imported when one first runs.

Arrays are anything in CUDA memory with `__cuda_array_interface__` or `__dlpack__`; work is queued on the caller's stream and not waited
for. Each kernel has a NumPy reference beside it and runs in the tests without a GPU. Imports nothing of streamsr. See docs/kernels.md.
"""

from .axial_attention import axial_attention
from .filters import Filter
from .launch_device import Tables
from .local_attention import local_axial_attention
from .plane_resample import chroma_site, resample
from .planes import pack, unpack
from .samples import compare_planes, join_surface, split_surface

__all__ = [
    "Filter",
    "Tables",
    "axial_attention",
    "chroma_site",
    "compare_planes",
    "join_surface",
    "local_axial_attention",
    "pack",
    "resample",
    "split_surface",
    "unpack",
]
