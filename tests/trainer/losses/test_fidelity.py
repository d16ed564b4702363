"""The fidelity terms agree with libvmaf's features, and do not reward enhancement."""

import json
import pathlib
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainer.data.photos import luma_codes
from trainer.losses.fidelity import detail, information

# libvmaf works in fixed point and mirrors the edges; its detail feature (ADM) also leaves a border out and takes enhancement by angle
INFORMATION_TOLERANCE = 0.02
DETAIL_TOLERANCE = 0.04


def blurred(luma: np.ndarray, rounds: int) -> np.ndarray:
    """3x3 box blur, `rounds` times, rounded to codes."""
    out = luma.astype(np.float64)
    for _ in range(rounds):
        padded = np.pad(out, 1, mode="edge")
        out = sum(padded[y : y + luma.shape[0], x : x + luma.shape[1]] for y in range(3) for x in range(3)) / 9
    return np.rint(out).astype(np.uint8)


def unit(luma: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(luma.astype(np.float32) / 255)[None, None]


@pytest.fixture(scope="module")
def luma(draw_picture: Callable[..., np.ndarray]) -> np.ndarray:
    return luma_codes(draw_picture(352, 416, 4))


@pytest.mark.parametrize("rounds", [1, 2])
def test_terms_are_libvmafs_features(luma: np.ndarray, rounds: int, tmp_path: pathlib.Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    filters = subprocess.run([ffmpeg, "-v", "error", "-filters"], capture_output=True, text=True).stdout
    if "libvmaf" not in filters:
        pytest.skip("this ffmpeg has no libvmaf")
    height, width = luma.shape
    soft = blurred(luma, rounds)
    for name, plane in (("a", soft), ("b", luma)):
        (tmp_path / name).write_bytes(plane.tobytes() + bytes([128]) * (plane.size // 2))
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"]
    log = tmp_path / "log.json"
    graph = f"[0:v][1:v]libvmaf=log_fmt=json:log_path={log}"
    inputs = [*raw, "-i", str(tmp_path / "a"), *raw, "-i", str(tmp_path / "b")]
    subprocess.run([ffmpeg, "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"], check=True)
    theirs = json.loads(log.read_text())["frames"][0]["metrics"]
    vif = np.mean([theirs[f"integer_vif_scale{i}"] for i in range(4)])
    assert float(information(unit(soft), unit(luma))) == pytest.approx(vif, abs=INFORMATION_TOLERANCE)
    assert float(detail(unit(soft), unit(luma))) == pytest.approx(theirs["integer_adm2"], abs=DETAIL_TOLERANCE)


def test_both_terms_are_one_for_the_original_and_no_more_for_an_enhanced_one(luma: np.ndarray) -> None:
    original = unit(luma)
    enhanced = original + 0.3 * (original - unit(blurred(luma, 1)))
    for term in (information, detail):
        assert float(term(original, original)) == pytest.approx(1, abs=2e-3)
        assert float(term(enhanced, original)) <= 1.001


def test_flat_pictures_have_finite_slopes() -> None:
    flat = torch.full((1, 1, 96, 96), 0.5, requires_grad=True)
    (information(flat, flat.detach()) + detail(flat, flat.detach())).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
