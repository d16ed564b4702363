"""What planes.cu computes, in NumPy."""

from __future__ import annotations

import numpy as np


def unpack(plane: np.ndarray, levels: np.ndarray, *, bits: int) -> None:
    (rows, columns), (height, width) = levels.shape, plane.shape
    padded = np.pad(plane, ((0, rows - height), (0, columns - width)), mode="edge")
    levels[...] = padded.astype(np.float32) / np.float32((1 << bits) - 1)


def pack(levels: np.ndarray, plane: np.ndarray, *, bits: int) -> None:
    max_code = (1 << bits) - 1
    scaled = np.nan_to_num(levels.astype(np.float32), posinf=np.inf, neginf=-np.inf) * np.float32(max_code)
    plane[...] = np.clip(np.rint(scaled), 0, max_code).astype(plane.dtype)
