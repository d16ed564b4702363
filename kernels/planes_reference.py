"""What planes.cu computes, in NumPy."""

from __future__ import annotations

import numpy as np

from .surface import find_surface


def unpack(surface: list[np.ndarray], pix_fmt: str, dtype: type = np.float16) -> list[np.ndarray]:
    """Codes -> levels: Y, Cb and Cr, or Y alone, (h, w) each."""
    layout = find_surface(pix_fmt)
    planes = [surface[0], *(channel for plane in surface[1:] for channel in (np.moveaxis(plane, -1, 0) if layout.interleaved else [plane]))]
    return [((plane >> layout.shift).astype(np.float32) / np.float32(layout.max_code)).astype(dtype) for plane in planes]


def pack(planes: list[np.ndarray], pix_fmt: str) -> list[np.ndarray]:
    """Levels -> codes."""
    layout = find_surface(pix_fmt)
    codes = []
    for plane in planes:
        scaled = np.nan_to_num(plane.astype(np.float32), posinf=np.inf, neginf=-np.inf) * np.float32(layout.max_code)
        codes.append(np.clip(np.rint(scaled), 0, layout.max_code).astype(layout.dtype) << layout.shift)
    return [codes[0], np.stack(codes[1:], -1)] if layout.interleaved and len(codes) == 3 else codes
