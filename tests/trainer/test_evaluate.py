"""Scores agree with scikit-image; the command line says what is wrong."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
from skimage import metrics

from trainer.__main__ import main
from trainer.evaluate import evaluate, psnr, ssim_y, upscale_luma
from trainer.nets import Lite
from trainer.onnx_graph import onnx_of

pytest.importorskip("onnxruntime")


def test_psnr_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(16, 236, (40, 50)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 4, a.shape), 16, 235)
    theirs = metrics.peak_signal_noise_ratio(a[2:-2, 2:-2].astype(np.float64), b[2:-2, 2:-2], data_range=255)
    assert psnr(a, b, 2) == pytest.approx(theirs, abs=1e-9)


def test_the_loss_ssim_is_that_of_scikit_image_inside() -> None:
    import torch

    from trainer.losses import ssim

    rng = np.random.default_rng(0)
    a = rng.random((64, 64))
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    _, full = metrics.structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)
    ours = ssim(*(torch.from_numpy(x).float()[None, None] for x in (a, b)))
    assert float(ours) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)
    assert 0 < ssim_y(a * 255, b * 255, 2) < 1


def test_nearest_repetition_scores_below_bicubic_on_a_smooth_picture(tmp_path: pathlib.Path) -> None:
    import torch
    from PIL import Image

    y, x = np.mgrid[0:64, 0:80]
    wave = np.clip(np.rint(128 + 90 * np.sin(x / 5) * np.cos(y / 6)), 0, 255).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.stack([wave] * 3, -1)).save(tmp_path / "in" / "wave.png")
    net = Lite(2)
    torch.nn.init.zeros_(net.tail.weight)  # what is left is the repeated input
    onnx.save(onnx_of(net), tmp_path / "nearest.onnx")
    [score] = evaluate(tmp_path / "nearest.onnx", tmp_path / "in", tmp_path / "out")
    assert score.psnr < score.psnr_bicubic - 3
    with Image.open(tmp_path / "out" / "wave_bicubic_network_original.png") as sheet:
        assert sheet.size == (240, 64)


def test_results_are_rounded_and_clipped() -> None:
    luma = np.array([[0, 255]], np.uint8)
    got = upscale_luma(luma, lambda x: x * 1.2 - 0.05)
    assert got.tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sr", "--recipe", "lite_x7", "--data", "."], "Unknown recipe 'lite_x7'. Available: base_x2, base_x3, base_x4, lite"),
        (["sr", "--recipe", "lite_x2", "--data", "no/such"], "'no/such' does not exist"),
        (["export", "--run", "no/run"], "No checkpoint at 'no/run'"),
        (["eval", "--weights", "no.onnx", "--data", "."], "holds no photograph"),
    ],
)
def test_mistakes_are_named_and_the_exit_status_says_so(
    arguments: list[str], message: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # in this process: a subprocess would spend seconds on importing torch
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_json_holds_the_mean_and_every_picture(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    onnx.save(onnx_of(Lite(2)), tmp_path / "net.onnx")
    root = pathlib.Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-m",
        "trainer",
        "eval",
        "--weights",
        str(tmp_path / "net.onnx"),
        "--data",
        str(photos),
        "--json",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert len(told["pictures"]) == 24
    gains = [p["psnr"] - p["psnr_bicubic"] for p in told["pictures"]]
    assert told["mean"]["psnr_y_gain"] == pytest.approx(np.mean(gains))
