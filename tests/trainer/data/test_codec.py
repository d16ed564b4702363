"""Coded sequences hold real inter-coded artefacts, in the right order and range."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from trainer.data.codec import SIDE, coded_pairs, moving_sequence, round_trip
from trainer.data.photos import luma_codes


@pytest.fixture(scope="module")
def panning(draw_picture: Callable[..., np.ndarray]) -> list[np.ndarray]:
    luma = luma_codes(draw_picture(96, 160, 3))
    return [luma[:64, 4 * t : 4 * t + 64].copy() for t in range(8)]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_come_back_in_their_own_order(panning: list[np.ndarray], codec: str) -> None:
    decoded = round_trip(panning, codec=codec, crf=16, preset="medium")
    assert len(decoded) == len(panning)
    for t, plane in enumerate(decoded):
        gaps = [np.mean((plane.astype(float) - frame) ** 2) for frame in panning]
        assert int(np.argmin(gaps)) == t


def test_a_higher_rate_factor_loses_more(panning: list[np.ndarray]) -> None:
    def loss(crf: float) -> float:
        decoded = round_trip(panning, codec="libx264", crf=crf, preset="medium")
        return float(np.mean([(d.astype(float) - p) ** 2 for d, p in zip(decoded, panning, strict=True)]))

    assert 0 < loss(18) < loss(26) < loss(34)


def test_encodes_are_inter_coded(panning: list[np.ndarray]) -> None:
    still = [panning[0]] * 8
    decoded = round_trip(still, codec="libx264", crf=30, preset="medium")
    # a still picture costs an inter coder one frame: what follows is copied, not coded anew
    assert np.mean(np.abs(decoded[3].astype(int) - decoded[2].astype(int))) < 1


def test_targets_align_with_their_versions(tmp_path: pathlib.Path, draw_picture: Callable[..., np.ndarray]) -> None:
    from PIL import Image

    path = tmp_path / "a.png"
    Image.fromarray(draw_picture(480, 520, 5)).save(path)
    for hr, versions in coded_pairs(path, 11, 2):
        assert hr.shape == (SIDE, SIDE)
        box = hr.astype(np.float64).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
        for version in versions:
            here = np.mean((version - box)[4:-4, 4:-4] ** 2)
            moved = [np.mean((np.roll(version, s, a) - box)[4:-4, 4:-4] ** 2) for s in (-1, 1) for a in (0, 1)]
            assert here < min(moved)


def test_a_sequence_depends_on_its_seed_alone(draw_picture: Callable[..., np.ndarray]) -> None:
    luma = luma_codes(draw_picture(200, 200, 1))
    a, b, c = (moving_sequence(luma, rng=np.random.default_rng(s), num_frames=3, side=96) for s in (1, 1, 2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert any((x != y).any() for x, y in zip(a, c, strict=True))
