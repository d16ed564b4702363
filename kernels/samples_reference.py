"""What samples.cu computes, in NumPy."""

from __future__ import annotations

import numpy as np


def split_surface(surface: list[np.ndarray], planes: list[np.ndarray], *, shift: int = 0) -> None:
    for plane, samples in zip(planes, (surface[0], surface[1][..., 0], surface[1][..., 1]), strict=True):
        plane[...] = samples >> shift


def join_surface(planes: list[np.ndarray], surface: list[np.ndarray], *, shift: int = 0) -> None:
    for plane, samples in zip(planes, (surface[0], surface[1][..., 0], surface[1][..., 1]), strict=True):
        samples[...] = plane << shift


def compare_planes(plane: np.ndarray, before: np.ndarray, samples: np.ndarray, differs: np.ndarray, *, step: tuple[int, int]) -> None:
    differs |= bool((plane != before).any())
    before[...] = plane
    samples[...] = plane[:: step[0], :: step[1]]
