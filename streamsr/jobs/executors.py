"""Executors: who processes the segments of a job: this process, several on this machine, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..resample import planar_format
from ..upscaling.upscaler import Upscaler
from .job_spec import SegmentExecutor, Spec
from .ray_cluster import Cluster, list_nodes
from .resources import find_needs
from .worker import Worker
from .worker_pool import Pool, share_out


def open_executor(spec: Spec, upscaler: Upscaler, num_workers: int, cluster: str | None) -> tuple[Spec, Callable[[Spec], SegmentExecutor]]:
    """The spec with the threads of each worker, and what opens the crew. Encoders with one number of threads write the same."""
    if cluster is not None:
        width, height, pix_fmt = spec.shape
        needs = find_needs(spec, upscaler.specs, upscaler.output_size(width, height, planar_format(pix_fmt)), list_nodes())
        threads = needs.num_cpus
        source = replace(spec.source, threads=spec.source.threads or threads)
        upscale = replace(spec.upscale, threads=threads)
        spec = replace(spec, upscale=upscale, source=source, encode=replace(spec.encode, threads=spec.encode.threads or threads))
        input_bytes = 0 if "://" in spec.url else Path(spec.url).stat().st_size
        return spec, lambda spec: Cluster(spec, needs, input_bytes)
    if num_workers > 1:
        return replace(spec, encode=share_out(spec, 0, num_workers)[0].encode), lambda spec: Pool(spec, num_workers)
    return spec, lambda spec: Worker(spec, upscaler)
