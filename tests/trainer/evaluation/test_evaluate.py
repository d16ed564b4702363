"""Scores agree with scikit-image; the command line says what is wrong."""

import json
import pathlib
import sys

import numpy as np
import onnx
import pytest
from skimage import metrics

from trainer.cli import main
from trainer.evaluation.evaluate import Found, evaluate, evaluate_all, summary
from trainer.evaluation.upscalers import open_methods, open_network
from trainer.export.onnx_lite import onnx_of
from trainer.nets import Lite
from trainer.trainer_error import TrainerError

pytest.importorskip("onnxruntime")


def test_the_loss_ssim_is_that_of_scikit_image_inside() -> None:
    import torch

    from trainer.losses.training_loss import ssim

    rng = np.random.default_rng(0)
    a = rng.random((64, 64))
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    _, full = metrics.structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)
    ours = ssim(*(torch.from_numpy(x).float()[None, None] for x in (a, b)))
    assert float(ours) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


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
    rows = evaluate(tmp_path / "nearest.onnx", tmp_path / "in")
    bicubic, lanczos, nearest = (row.scores.psnr for row in rows)
    assert nearest < bicubic - 3
    assert lanczos > nearest + 3
    assert summary(rows)["psnr_y_gain"] == pytest.approx(nearest - bicubic)


def test_pictures_may_be_found_soft_or_as_jpeg_files(tmp_path: pathlib.Path) -> None:
    from PIL import Image

    rgb = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(rgb).save(tmp_path / "in" / "noise.png")
    onnx.save(onnx_of(Lite(2)), tmp_path / "net.onnx")
    plain, soft, good, bad = (
        evaluate_all([tmp_path / "net.onnx"], data=[tmp_path / "in"], found=found)[0].scores.psnr
        for found in (Found(), Found(enlarge=2), Found(jpeg=95), Found(jpeg=20))
    )
    assert soft > plain + 3  # what was enlarged has little that is lost when it is made small
    assert plain > good > bad + 0.1


def test_results_are_rounded_and_clipped(tmp_path: pathlib.Path) -> None:
    import torch

    net = Lite(2)
    torch.nn.init.zeros_(net.tail.weight)
    net.tail.bias.data.fill_(0.0415)  # type: ignore[union-attr]
    onnx.save(onnx_of(net), tmp_path / "net.onnx")
    upscale, scale = open_network(tmp_path / "net.onnx")
    [made] = upscale([np.array([[0, 100, 255]], np.uint8)])
    assert scale == 2
    assert made[0].tolist() == [11, 11, 111, 111, 255, 255]


def test_networks_of_different_scales_are_refused(tmp_path: pathlib.Path) -> None:
    for scale in (2, 3):
        onnx.save(onnx_of(Lite(scale)), tmp_path / f"net{scale}.onnx")
    with pytest.raises(TrainerError, match=r"one scale.*net2.onnx x2.*net3.onnx x3"):
        open_methods([tmp_path / "net2.onnx", tmp_path / "net3.onnx"])
    (tmp_path / "broken.onnx").write_bytes(b"noise")
    with pytest.raises(TrainerError, match=r"broken\.onnx' does not open"):
        open_network(tmp_path / "broken.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sr", "--recipe", "lite_x7", "--data", "."], "Unknown recipe 'lite_x7'. Available: lite_clean_natural_x2, lite_clean_x2"),
        (["sr", "--recipe", "lite_x2", "--data", "no/such"], "'no/such' does not exist"),
        (["export", "--run", "no/run"], "No checkpoint at 'no/run'"),
        (["eval", "--weights", "no.onnx", "--data", "."], "holds no photograph"),
        (["eval", "--weights", "no.onnx", "--data", ".", "--jpeg", "0"], "--jpeg 0 a quality of 1 to 95"),
        (["eval", "--weights", "no.onnx", "--data", ".", "--enlarge", "0"], "--enlarge 0 must be above 0"),
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


def test_json_holds_the_means_every_picture_and_a_sheet_is_drawn(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        onnx.save(onnx_of(Lite(2)), tmp_path / f"{name}.onnx")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photos.iterdir())[:2]:
        (few / path.name).write_bytes(path.read_bytes())
    weights = [str(tmp_path / f"{name}.onnx") for name in ("one", "two")]
    arguments = ["eval", "--weights", *weights, "--data", str(few), "--json", "--sheet", str(tmp_path / "sheet.png")]
    monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
    main()
    told = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in told["mean"]] == ["bicubic", "Lanczos", "one", "two"]
    assert len(told["rows"]) == 8
    mine = [row["scores"] for row in told["rows"] if row["method"] == "one"]
    for measure in ("psnr", "ssim", "efficient_pban"):
        assert told["mean"][2]["scores"][measure] == pytest.approx(np.mean([scores[measure] for scores in mine]))
    assert (tmp_path / "sheet.png").stat().st_size > 1000
