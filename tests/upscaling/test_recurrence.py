"""Recurrent models: the Upscaler is a plain loop over the frames, whatever runs beside it, and starts anew where frames do not go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from make_recurrent import MEMORY, RADIUS, PlainLoop, write_recurrent
from media import gray_pictures, make_clip, rows, upscale

from streamsr.engines import open_engine, zero_state
from streamsr.engines.tiling import infer_tiled
from streamsr.errors import EngineError
from streamsr.frame import Frame
from streamsr.jobs.segment_plan import WARMUP_FRAMES
from streamsr.models import find_models
from streamsr.upscaling.upscaler import Upscaler

pytest.importorskip("onnxruntime")
WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("model"))


def moving(num_frames: int, *, width: int = WIDTH, height: int = HEIGHT, bits: int = 8, seed: int = 0) -> list[np.ndarray]:
    """A smooth texture that drifts by a pixel a frame, with noise: it goes on from frame to frame."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 4)
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(num_frames):
        at = x + t
        wave = np.sin(at / 9 + phase[0]) + np.sin(y / 7 + phase[1]) * np.cos(at / 23 + phase[2]) + np.sin(at * y / 900 + phase[3])
        codes = 0.5 + wave / 8 + rng.normal(0, 0.02, wave.shape)
        frames.append(np.clip(codes * ((1 << bits) - 1), 0, (1 << bits) - 1).astype(np.uint8 if bits == 8 else np.uint16))
    return frames


def videos(lumas: Sequence[np.ndarray], *, pts: Sequence[int | None] | None = None, pix_fmt: str = "gray") -> list[av.VideoFrame]:
    made = []
    for index, luma in enumerate(lumas):
        video = av.VideoFrame(luma.shape[1], luma.shape[0], pix_fmt)
        video.pts, video.time_base = index if pts is None else pts[index], Fraction(1, 25)
        Frame(video).luma[:] = luma
        made.append(video)
    return made


def expected(model: Path, lumas: Sequence[np.ndarray], starts: Sequence[int] = ()) -> list[np.ndarray]:
    loop, results = PlainLoop(model), []
    for index, luma in enumerate(lumas):
        if index in starts:
            loop.restart()
        results.append(loop(luma))
    return results


def assert_same(large: Sequence[av.VideoFrame], wanted: Sequence[np.ndarray]) -> None:
    assert len(large) == len(wanted)
    for index, (video, luma) in enumerate(zip(large, wanted, strict=True)):
        np.testing.assert_array_equal(Frame(video).luma, luma, err_msg=f"frame {index}")


def plain(model: Path, **options: object) -> Upscaler:
    return Upscaler(model, **({"engine": "onnxruntime", "precision": "f32", "threads": 1} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("bits", "pix_fmt"), [(8, "gray"), (10, "gray10le")])
def test_stream_equals_a_plain_loop_bit_for_bit(model: Path, bits: int, pix_fmt: str) -> None:
    lumas = moving(12, bits=bits)
    with plain(model, threads=4) as upscaler:
        assert_same(list(upscaler(videos(lumas, pix_fmt=pix_fmt))), expected(model, lumas))
        assert upscaler.num_upscaled == 12


def test_the_state_matters(model: Path) -> None:
    lumas = moving(3)
    assert not np.array_equal(expected(model, lumas)[2], PlainLoop(model)(lumas[2]))


FOLLOWERS = [("openvino", "f32"), ("openvino", "bf16"), ("torch", "f32"), ("torch", "bf16")]


@pytest.mark.parametrize(("engine", "precision"), FOLLOWERS)
def test_engines_follow_the_plain_loop(model: Path, engine: str, precision: str) -> None:
    pytest.importorskip(engine)
    lumas = moving(10)
    try:
        with Upscaler(model, engine=engine, device="cpu", precision=precision, threads=1) as upscaler:  # type: ignore[arg-type]
            large = [Frame(video).luma.astype(int) for video in upscaler(videos(lumas))]
    except EngineError as error:
        if "no bf16" in str(error):
            pytest.skip(str(error))
        raise
    errors = [np.abs(luma - want) for luma, want in zip(large, expected(model, lumas), strict=True)]
    # f32: sums in another order may round a code the other way; bf16 keeps 8 bits
    assert max(error.max() for error in errors) <= {"f32": 1, "bf16": 4}[precision]
    assert max(error.mean() for error in errors) <= {"f32": 0.001, "bf16": 0.5}[precision]


def test_frames_one_by_one_are_one_stream_until_a_restart(model: Path) -> None:
    lumas = moving(8)
    with plain(model) as upscaler:
        large = []
        for index, video in enumerate(videos(lumas)):
            if index == 5:
                upscaler.restart()
            large.append(upscaler(video))
    assert_same(large, expected(model, lumas, starts=[5]))


def test_streams_share_an_engine_but_no_state(model: Path) -> None:
    sets = [moving(8, seed=seed) for seed in range(3)]
    results: dict[int, list[av.VideoFrame]] = {}
    with plain(model, threads=4) as upscaler:

        def work(number: int) -> None:
            results[number] = list(upscaler(videos(sets[number])))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, lumas in enumerate(sets):
        assert_same(results[number], expected(model, lumas))


def test_equal_frames_leave_the_state_alone(model: Path) -> None:
    first, second, third = moving(3)
    with plain(model) as upscaler:
        large = list(upscaler(videos([first, second, second, second, third])))
        assert upscaler.num_reused == 2
    a, b, c = expected(model, [first, second, third])
    assert_same(large, [a, b, b, b, c])


@pytest.mark.parametrize(
    ("pts", "starts"),
    [([0, 1, 2, 3, 4, 5], []), ([0, 1, 2, 1, 2, 3], [3]), ([0, 1, 2, 90, 91, 92], [3]), ([None] * 6, []), ([0, 1, 2, 20, 21, 22], [])],
)
def test_seeks_start_anew(model: Path, pts: list[int | None], starts: list[int]) -> None:
    lumas = moving(6)
    with plain(model) as upscaler:
        assert_same(list(upscaler(videos(lumas, pts=pts))), expected(model, lumas, starts))


def test_the_same_picture_after_a_seek_is_shown_to_a_fresh_state(model: Path) -> None:
    first, second = moving(2)
    with plain(model) as upscaler:
        large = list(upscaler(videos([first, second, second], pts=[5, 6, 0])))
    assert_same(large, expected(model, [first, second, second], starts=[2]))


def test_scene_cut_starts_anew(model: Path) -> None:
    lumas = [*moving(4), *(255 - luma for luma in moving(4))]
    with plain(model) as upscaler:
        assert_same(list(upscaler(videos(lumas))), expected(model, lumas, starts=[4]))


def test_another_size_starts_anew(model: Path) -> None:
    lumas = [*moving(3), *moving(3, width=WIDTH // 2, height=HEIGHT // 2)]
    with plain(model) as upscaler:
        large = list(upscaler(videos(lumas)))
    assert_same(large[:3], expected(model, lumas[:3]))
    assert [(video.width, video.height) for video in large] == [(2 * WIDTH, 2 * HEIGHT)] * 6
    loop = PlainLoop(model)  # 48x32 to 192x128 is two passes, each with a state of its own
    second = PlainLoop(model)
    assert_same(large[3:], [second(loop(luma)) for luma in lumas[3:]])


def test_arrays_in_a_stream_go_on_and_single_ones_do_not(model: Path) -> None:
    arrays = [np.repeat(luma[..., None], 3, axis=2) for luma in moving(4)]
    with plain(model) as upscaler:
        stream = list(upscaler(iter(arrays)))
        single = [upscaler(array) for array in arrays]
    np.testing.assert_array_equal(stream[0], single[0])
    assert not np.array_equal(stream[3], single[3])


def test_a_frame_that_fails_lets_the_next_start_anew(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lumas = moving(6)
    with plain(model) as upscaler:
        upscaler.prepare(WIDTH, HEIGHT, "gray")
        (engine,) = upscaler._cache.engines
        infer, calls = engine.infer, []

        def fail_once(*given: object) -> object:
            calls.append(given)
            if len(calls) == 3:
                raise EngineError("out of memory")
            return infer(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "infer", fail_once)
        large = []
        for index, video in enumerate(videos(lumas)):
            if index == 2:
                with pytest.raises(EngineError, match="out of memory"):
                    upscaler(video)
            else:
                large.append(upscaler(video))
    assert_same(large, expected(model, lumas[:2]) + expected(model, lumas[3:]))


def test_a_closed_stream_leaves_the_next_one_alone(model: Path) -> None:
    lumas = moving(12)
    with plain(model, threads=4) as upscaler:
        stream = upscaler(videos(lumas))
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        assert_same(list(upscaler(videos(lumas))), expected(model, lumas))


@pytest.mark.parametrize(("engine", "precision"), [("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16")])
def test_tiles_carry_the_whole_state_bit_for_bit(model: Path, engine: str, precision: str) -> None:
    (spec,) = find_models(model)
    try:
        opened = open_engine(spec, engine=engine, device="cpu", precision=precision, threads=1)  # type: ignore[arg-type]
    except EngineError as error:
        pytest.skip(str(error))
    height, width = 61, 150
    whole_state = tiled_state = zero_state(spec, height, width)
    for luma in moving(4, width=width, height=height):
        whole, tiled = (np.empty((2 * height, 2 * width), np.uint8) for _ in range(2))
        whole_state = opened.infer(luma, whole, whole_state)
        tiled_state = infer_tiled(opened, luma, tiled, tiled_state, radius=RADIUS, limit=2000)
        np.testing.assert_array_equal(tiled, whole)
        for a, b in zip(tiled_state, whole_state, strict=True):
            np.testing.assert_array_equal(a, b)


def test_tiles_carry_the_state_in_torch_to_its_last_bits(model: Path) -> None:
    """torch's convolutions add up in another order where a row is cut."""
    pytest.importorskip("torch")
    (spec,) = find_models(model)
    opened = open_engine(spec, engine="torch", device="cpu", precision="f32", threads=1)
    whole_state = tiled_state = zero_state(spec, 61, 150)
    for luma in moving(4, width=150, height=61):
        whole, tiled = (np.empty((122, 300), np.uint8) for _ in range(2))
        whole_state = opened.infer(luma, whole, whole_state)
        tiled_state = infer_tiled(opened, luma, tiled, tiled_state, radius=RADIUS, limit=2000)
        assert np.abs(whole.astype(int) - tiled).max() <= 1
        for a, b in zip(tiled_state, whole_state, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_description_that_names_other_states_is_an_engine_error(model: Path, tmp_path: Path) -> None:
    path = tmp_path / model.name
    path.write_bytes(model.read_bytes())
    path.with_suffix(".json").write_text(model.with_suffix(".json").read_text().replace("state_a", "state_x"))
    for engine in ("openvino", "onnxruntime", "torch"):
        pytest.importorskip(engine)
        (spec,) = find_models(path)
        with pytest.raises(EngineError, match="state_x"):
            open_engine(spec, engine=engine, device="cpu")


def test_bare_recurrent_file_is_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / model.name
    path.write_bytes(model.read_bytes())
    with pytest.raises(EngineError, match="3 inputs"):
        Upscaler(path)


def test_job_in_segments_is_the_job_in_one_piece(model: Path, tmp_path: Path) -> None:
    assert WARMUP_FRAMES >= MEMORY
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "20", num_frames=100)
    for name, seconds in (("parts.mkv", "1"), ("whole.mkv", "0")):
        upscale(clip, tmp_path / name, "--encoder", "ffv1", "--segment-seconds", seconds, "--engine", "onnxruntime",
                "--report", tmp_path / f"{name}.json", model=str(model))  # fmt: skip
    assert json.loads((tmp_path / "parts.mkv.json").read_text())["num_segments"] > 2
    assert gray_pictures(tmp_path / "parts.mkv", 128, 96) == gray_pictures(tmp_path / "whole.mkv", 128, 96)
    assert len(rows(tmp_path / "parts.mkv")) == 100
