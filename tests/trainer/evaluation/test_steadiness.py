"""Flicker and warping error mean what they say."""

import numpy as np

from trainer.evaluation.steadiness import Steadiness, follow, mean_steadiness, steadiness


def drifting(num_frames: int) -> list[np.ndarray]:
    y, x = np.mgrid[:96, :128]
    return [np.rint(128 + 50 * np.sin((x + t) / 6) + 40 * np.cos((y + x + t) / 9)).astype(np.uint8) for t in range(num_frames)]


def test_perfect_frames_have_no_flicker_and_the_originals_warping_error() -> None:
    originals = drifting(6)
    found = steadiness(originals, originals, follow(originals))
    assert found is not None
    assert found.flicker == 0
    assert found.warping == found.warping_original


def test_restless_frames_flicker_and_steady_ones_do_not() -> None:
    originals = drifting(6)
    flows = follow(originals)
    steady = steadiness([frame + 3 for frame in originals], originals, flows)
    restless = steadiness([frame - 3 if t % 2 else frame + 3 for t, frame in enumerate(originals)], originals, flows)
    assert steady is not None
    assert restless is not None
    assert (steady.flicker, restless.flicker) == (0, 6)
    assert restless.warping > steady.warping_original + 4 > steady.warping


def test_one_frame_has_no_steadiness_and_the_mean_leaves_it_out() -> None:
    originals = drifting(1)
    assert steadiness(originals, originals, follow(originals)) is None
    mean = mean_steadiness([None, Steadiness(1, 2, 3), Steadiness(3, 4, 5)])
    assert mean == Steadiness(2, 3, 4)
    assert mean_steadiness([None]) is None
