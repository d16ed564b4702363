"""Clips through networks: checkpoints, and files that remember, which are played as the runtime plays them."""

import dataclasses
import pathlib

import numpy as np
import pytest
import torch
from attentive import attentive_model

from streamsr.upscaling.upscaler import Upscaler
from trainer.checkpoint import FORMAT
from trainer.evaluation.eval_clips import list_clips, read_luma, studio_luma
from trainer.evaluation.evaluate import evaluate_all
from trainer.evaluation.score_report import as_dict, table
from trainer.evaluation.upscalers import open_network
from trainer.export.export_run import ExportOptions, export
from trainer.nets import build_network
from trainer.recipes import lite_clean
from trainer.trainer_error import TrainerError

CLIPS = pathlib.Path(__file__).parents[2] / "clips"
RECIPE = dataclasses.replace(lite_clean(2), channels=4, layers=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkpoint of a network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    state = {"format": FORMAT, "recipe": dataclasses.asdict(RECIPE), "step": 3, "seconds": 1.5, "metrics": {}}
    torch.save(state | {"ema": build_network(RECIPE).state_dict()}, path)
    return path


def drifting(num_frames: int) -> list[np.ndarray]:
    y, x = np.mgrid[:96, :128]
    return [np.rint(128 + 50 * np.sin((x + t) / 6) + 40 * np.cos((y + x + t) / 9)).astype(np.uint8) for t in range(num_frames)]


def furthest(made: list[np.ndarray], expected: list[np.ndarray]) -> int:
    """Codes."""
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(made, expected, strict=True))


def test_a_run_is_measured_as_the_file_that_is_exported_from_it(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    card, frames = export(run, tmp_path, None, ExportOptions()), drifting(2)
    # torch and ONNX Runtime add in another order: a code may be rounded the other way
    assert furthest(open_network(run)[0](frames), open_network(tmp_path / card["file"])[0](frames)) <= 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_a_file_that_remembers_is_measured_as_the_runtime_plays_it(engine: str, tmp_path: pathlib.Path) -> None:
    file, frames = attentive_model(tmp_path), [frame[::2, ::2] for frame in drifting(5)]
    upscale, scale = open_network(file)
    made = upscale(frames)
    assert scale == 2
    assert furthest(upscale(frames[-1:]), made[-1:]) > 1  # what came before counts
    assert furthest(upscaled(file, frames, engine), made) <= 1


def upscaled(file: pathlib.Path, frames: list[np.ndarray], engine: str) -> list[np.ndarray]:
    import av

    from streamsr.frame import Frame

    videos = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray") for frame in frames]
    with Upscaler(file, engine=engine, precision="f32", threads=1) as upscaler:
        return [np.array(Frame(video).luma) for video in upscaler(videos)]


def test_folder_of_clips_is_scored(run: pathlib.Path) -> None:
    rows = evaluate_all([run, run.parent], clips=[CLIPS], count=3)
    assert {row.item for row in rows} == {"bunny.mp4"}
    names = [row.method for row in rows]
    assert names[:2] == ["bicubic", "Lanczos"]
    assert len(set(names)) == 4  # two networks of one file name are told apart by their folders
    bicubic, lanczos, net, again = rows
    assert lanczos.scores.psnr > bicubic.scores.psnr > 25
    assert net.scores == again.scores
    assert net.steadiness is not None
    assert net.steadiness.warping_original == lanczos.steadiness.warping_original  # type: ignore[union-attr]
    lines = table(rows).splitlines()
    assert lines[0] == "clips, mean of 1"
    assert "warping (original)" in lines[1]
    assert [line.split()[0] for line in lines[2:4]] == ["bicubic", "Lanczos"]
    assert as_dict(rows)["rows"][2]["steadiness"]["flicker"] == net.steadiness.flicker


def test_studio_luma_keeps_the_codes_of_8_bit_video() -> None:
    import av

    codes = np.random.default_rng(0).integers(16, 236, (32, 48)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.concatenate([codes, np.full((16, 48), 128, np.uint8)]), format="yuv420p")
    assert np.array_equal(studio_luma(frame), codes)
    deep = frame.reformat(format="yuv420p10le")
    assert np.abs(studio_luma(deep).astype(int) - codes).max() <= 1
    full = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 255, np.uint8), format="rgb24").reformat(format="yuvj420p")
    assert np.abs(studio_luma(full).astype(int) - 235).max() <= 1


def test_wrong_folders_and_files_are_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match="There is no clip in"):
        list_clips(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(TrainerError, match=r"Cannot decode .*broken\.mp4"):
        read_luma(tmp_path / "broken.mp4", 3)
