"""The warping error beside Lanczos's: of networks of luma and chroma, as a run uses them."""

import json
import pathlib
import sys

import av
import numpy as np
import pytest
from make_chroma import make_weights, write_chroma_model

from trainer.cli import main
from trainer.data.photos import Plane
from trainer.evaluation import warping
from trainer.evaluation.warping import WarpingOptions, halve, measure_warping, warping_table
from trainer.trainer_error import TrainerError

NUM_FRAMES = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A pattern that moves by a pixel a frame, without loss."""
    path = tmp_path_factory.mktemp("clip") / "moving.mkv"
    y, x = np.mgrid[:98, :130]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25, width=130, height=98, pix_fmt="yuv420p")
        for t in range(NUM_FRAMES):
            luma = np.rint(128 + 50 * np.sin((x + t) / 6) + 40 * np.cos((y + x + t) / 9)).astype(np.uint8)
            planes = np.concatenate([luma.ravel(), np.full(65 * 49 * 2, 128, np.uint8)]).reshape(-1, 130)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_half_of_a_clip_keeps_what_the_original_shows(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    originals = halve(clip, tmp_path / "half.mkv", scale=2, count=NUM_FRAMES)
    assert {plane.shape for plane in originals} == {(96, 128)}  # cut to what two divides twice
    with av.open(str(tmp_path / "half.mkv")) as container:
        halves = [frame.to_ndarray()[:48].astype(float) for frame in container.decode(video=0)]
    assert len(halves) == len(originals) == NUM_FRAMES
    for half, original in zip(halves, originals, strict=True):
        means = original.reshape(48, 2, 64, 2).mean((1, 3))
        assert np.abs(half - means).mean() < 3
        assert abs((half - means).mean()) < 0.5


def test_a_network_of_luma_and_chroma_stands_beside_lanczos(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model = str(write_chroma_model(make_weights(2), tmp_path))
    rows = list(measure_warping([clip], WarpingOptions((model, "resize"), frames=NUM_FRAMES, threads=1)))
    assert [row.method for row in rows] == ["Lanczos", model]
    lanczos, net = rows
    assert (lanczos.halved_ratio, lanczos.own_ratio, lanczos.own.flicker) == (1, 1, 0)
    assert net.halved.warping_original == lanczos.halved.warping_original
    assert net.halved_ratio == pytest.approx(net.halved.warping / lanczos.halved.warping)
    assert net.own_ratio != 1
    assert warping_table(rows).count("Lanczos ") >= 2


def test_restless_frames_stand_out_in_both_ways(clip: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_run = warping.upscaled

    def boiling(path: pathlib.Path, model: str, options: WarpingOptions) -> list[Plane]:
        frames = by_run(path, "resize", options)
        return [frame + np.uint8(6 * (t % 2)) for t, frame in enumerate(frames)] if model == "boiling" else frames

    monkeypatch.setattr(warping, "upscaled", boiling)
    _, still, restless = measure_warping([clip], WarpingOptions(("still", "boiling"), frames=NUM_FRAMES, threads=1))
    assert (still.halved_ratio, still.own_ratio) == (1, 1)
    assert min(restless.halved.warping - still.halved.warping, restless.own.warping - still.own.warping) > 3
    assert min(restless.halved_ratio, restless.own_ratio) > 2


def test_command_prints_json_and_names_what_is_wrong(
    clip: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trainer", "warping", "--clips", str(clip), "--frames", "2", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--models", "resize", "--json"])
    main()
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["clip"], row["method"], row["halved_ratio"]) == ("moving.mkv", "Lanczos", 1)
    monkeypatch.setattr(sys, "argv", [*arguments, "--models", "nothing"])
    with pytest.raises(SystemExit):
        main()
    assert "nothing" in capsys.readouterr().err
    model = write_chroma_model(make_weights(2), tmp_path)
    monkeypatch.setattr(sys, "argv", ["trainer", "eval", "--weights", str(model), "--clips", str(clip.parent)])
    with pytest.raises(SystemExit):
        main()
    assert "takes chroma, too" in capsys.readouterr().err
    with pytest.raises(TrainerError, match="has one frame"):
        list(measure_warping([clip], WarpingOptions(("resize",), frames=1)))
