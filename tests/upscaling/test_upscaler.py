"""Upscaler: what goes in comes out larger, in order, with its format, tags and timestamps."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_model import Network, make_network, reference, write_forms, write_model

import streamsr
from streamsr.colour import LumaOfRgb
from streamsr.errors import EngineError, UsageError
from streamsr.frame import Frame, find_layout
from streamsr.options import Hint
from streamsr.upscaling.scale_plan import plan_passes
from streamsr.upscaling.upscaler import Upscaler

FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "yuv410p", "yuvj420p", "yuva420p", "gray", "gbrp", "gbrap",
    "yuv420p10le", "yuv422p12le", "yuv444p16le", "gray12le", "gbrp10le", "gbrap16le", "yuva444p10le", "yuv420p9le", "yuv420p14le",
]  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network(channels=8, layers=4)


@pytest.fixture
def shipped_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with forms, in place of the one that ships."""
    folder = write_forms(tmp_path / "weights")
    monkeypatch.setattr("streamsr.models.find_models.__defaults__", (folder,))
    return folder


@pytest.fixture(scope="module")
def model(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(network, tmp_path_factory.mktemp("model"))


def picture(width: int = 48, height: int = 32, pix_fmt: str = "yuv420p", *, seed: int = 0, pts: int = 0) -> av.VideoFrame:
    video = av.VideoFrame(width, height, pix_fmt)
    video.pts, video.time_base = pts, Fraction(1, 90000)
    layout = find_layout(pix_fmt)
    if layout is not None:
        rng = np.random.default_rng(seed)
        for plane in Frame(video).planes:
            plane[:] = rng.integers(layout.max_code // 5, layout.max_code * 4 // 5, plane.shape)
    return video


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_layout_depth_and_timestamps_stay(model: Path, pix_fmt: str) -> None:
    video = picture(35, 21, pix_fmt, pts=1234)
    video.color_range, video.color_primaries, video.color_trc = 2 if "j" in pix_fmt else 1, 9, 16
    with Upscaler(model, threads=1) as upscaler:
        large = upscaler(video)
    assert (large.format.name, large.width, large.height) == (pix_fmt, 70, 42)
    assert (large.pts, large.time_base) == (1234, Fraction(1, 90000))
    assert (large.color_range, large.color_primaries, large.color_trc) == (video.color_range, 9, 16)
    Frame(large).planes[0][:] = 0  # writable


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "yuv420p10le", "yuv444p16le"])
def test_luma_is_the_networks(network: Network, model: Path, pix_fmt: str) -> None:
    video = picture(40, 26, pix_fmt)
    large = Frame(Upscaler(model, precision="f32", threads=1)(video))
    luma, max_code = Frame(video).luma, large.layout.max_code
    expected = np.clip(reference(network, luma / max_code) * max_code, 0, max_code)
    assert np.abs(large.luma - expected).max() <= 0.51 + max_code * 2e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_array_gets_the_networks_luma_and_keeps_colour_differences(network: Network, model: Path, dtype: type) -> None:
    peak = np.iinfo(dtype).max
    rgb = np.random.default_rng(0).uniform(0.3 * peak, 0.7 * peak, (24, 30, 3)).astype(dtype)
    large = Upscaler(model, precision="f32", threads=1)(rgb)
    assert (large.shape, large.dtype) == ((48, 60, 3), dtype)
    weights = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601 studio luma of RGB in [0, 1]
    luma = 16 / 255 + rgb / peak @ weights
    # a whole code of RGB is the unit of the result; the same error in all three colours cannot cancel
    assert np.abs((16 / 255 + large / peak @ weights) - reference(network, luma)).max() <= 0.75 / 255
    resized = Upscaler("resize")(rgb).astype(int)
    differences = large.astype(int) - resized
    spread = differences.max(axis=2) - differences.min(axis=2)
    assert spread.max() <= 1


@pytest.mark.parametrize(
    ("scale", "size"), [(2, (70, 42)), (1.5, (54, 32)), (3, (106, 64)), (4, (140, 84)), (1, (36, 22)), (0.5, (18, 12))]
)
def test_any_scale_gives_even_sizes_where_chroma_needs_them(model: Path, scale: float, size: tuple[int, int]) -> None:
    upscaler = Upscaler(model, scale, threads=1)
    large = upscaler(picture(35, 21))
    assert (large.width, large.height) == size == upscaler.output_size(35, 21)
    assert upscaler(np.zeros((21, 35, 3), np.uint8)).shape[:2] == (int(21 * scale + 0.5), int(35 * scale + 0.5))


def test_scale_between_trained_ones_is_the_network_then_lanczos(network: Network, model: Path) -> None:
    from PIL import Image

    y, x = np.mgrid[:40, :60]
    video = picture(60, 40, "gray")
    Frame(video).luma[:] = np.rint(120 + 50 * np.sin(x / 4) * np.cos(y / 6))
    large = Frame(Upscaler(model, 1.5, precision="f32", threads=1)(video)).luma
    twice = np.clip(reference(network, Frame(video).luma / 255) * 255, 0, 255).astype(np.float32)
    expected = np.asarray(Image.fromarray(twice, "F").resize((90, 60), Image.Resampling.LANCZOS))
    assert np.abs(large - expected)[4:-4, 4:-4].max() <= 2  # two roundings and swscale's own code


@pytest.mark.parametrize(
    ("scales", "needed", "passes"),
    [([2], 2, (2,)), ([2], 4, (2, 2)), ([2, 3, 4], 2.5, (3,)), ([2, 3], 5, (2, 3)), ([2], 1, ()), ([2, 3], 1.01, (2,)), ([], 2, ())],
)
def test_passes_are_few_and_barely_enough(scales: list[int], needed: float, passes: tuple[int, ...]) -> None:
    assert plan_passes(scales, needed) == passes


def test_exact_size_wins_over_scale(model: Path) -> None:
    large = Upscaler(model, size=(101, 77), threads=1)(picture())
    assert (large.width, large.height) == (101, 77)


def test_stream_keeps_order_and_kind(model: Path) -> None:
    with Upscaler(model, threads=2) as upscaler:
        large = list(upscaler(picture(seed=i, pts=i) for i in range(20)))
        assert [video.pts for video in large] == list(range(20))
        frames = list(upscaler([Frame(picture(seed=1)), Frame(picture(seed=2))]))
        assert all(isinstance(frame, Frame) for frame in frames)
        one = upscaler(picture(seed=7))
        np.testing.assert_array_equal(Frame(large[7]).luma, Frame(one).luma)
        assert upscaler.num_upscaled == 23
        assert upscaler.engine_seconds > 0


def test_stream_is_lazy(model: Path) -> None:
    taken = []

    def source() -> Iterator[av.VideoFrame]:
        for index in range(100):
            taken.append(index)
            yield picture(pts=index, seed=index)

    with Upscaler(model, threads=2) as upscaler:
        stream = upscaler(source())
        assert not taken
        next(stream)
        assert len(taken) <= upscaler.concurrency + 2
        stream.close()
        time.sleep(0.05)
        assert len(taken) <= upscaler.concurrency + 2


@pytest.mark.parametrize(("hint", "num_ahead"), [("latency", 0), ("memory", 1)])
def test_few_frames_are_taken_ahead_where_time_or_memory_counts(model: Path, hint: Hint, num_ahead: int) -> None:
    taken: list[int] = []

    def source() -> Iterator[av.VideoFrame]:
        for index in range(5):
            taken.append(index)
            yield picture(pts=index)

    with Upscaler(model, threads=2, hint=hint) as upscaler:
        for index, video in enumerate(upscaler(source())):
            assert video.pts == index
            assert len(taken) <= index + 1 + num_ahead


def test_first_frame_fixes_size_and_format(model: Path) -> None:
    videos = [picture(48, 32), picture(24, 24), picture(96, 64), picture(48, 32, "yuv444p10le"), picture(48, 32, "rgb24")]
    for video in Upscaler(model, threads=1)(videos):
        assert (video.width, video.height, video.format.name) == (96, 64, "yuv420p")


def test_equal_frames_reuse_the_luma_but_not_the_frame(model: Path) -> None:
    videos = [picture(seed=seed, pts=pts) for pts, seed in enumerate([0, 0, 0, 1, 0])]
    Frame(videos[1]).planes[1][:] = 99  # chroma differs: luma may still be reused
    with Upscaler(model, threads=2) as upscaler:
        large = [Frame(video) for video in upscaler(videos)]
        assert upscaler.num_reused == 2
        single = Frame(Upscaler(model, threads=1)(videos[2]))
    np.testing.assert_array_equal(large[2].luma, single.luma)
    assert (large[1].planes[1] == 99).all()
    large[0].luma[:] = 0  # each has memory of its own
    np.testing.assert_array_equal(large[1].luma, single.luma)


def test_caller_may_write_to_a_frame_that_was_given_back(model: Path) -> None:
    upscaler = Upscaler(model, threads=1)
    video = picture(seed=3)
    before = Frame(upscaler(video)).luma.copy()
    Frame(video).luma[:] = 128
    after = Frame(upscaler(video)).luma
    assert not np.array_equal(before, after)


def test_source_error_comes_after_the_frames_before_it(model: Path) -> None:
    def source() -> Iterator[av.VideoFrame]:
        for index in range(3):
            yield picture(pts=index)
        raise OSError("cable pulled")

    given_back = []
    with Upscaler(model, threads=2) as upscaler, pytest.raises(OSError, match="cable pulled"):
        given_back.extend(video.pts for video in upscaler(source()))
    assert not given_back or given_back == [0, 1, 2]


def test_engine_error_reaches_the_caller(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Upscaler(model, threads=2) as upscaler:
        upscaler.prepare(48, 32)

        def fail(luma: np.ndarray, out: np.ndarray, state: tuple[np.ndarray, ...] = (), chroma: object = None) -> None:
            raise EngineError("out of memory")

        for engine in upscaler._cache.engines:
            monkeypatch.setattr(engine, "infer", fail)
        with pytest.raises(EngineError, match="out of memory"):
            list(upscaler([picture(pts=i) for i in range(8)]))
        assert upscaler.num_upscaled == 0


def test_close_ends_the_threads(model: Path) -> None:
    before = threading.active_count()
    with Upscaler(model, threads=2) as upscaler:
        list(upscaler([picture(pts=i) for i in range(4)]))
    assert threading.active_count() <= before


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv411p", "gbrp", "yuv420p10le"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 7), (3, 3)])
def test_tiny_pictures_work(model: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    large = Upscaler(model, threads=1)(picture(*size, pix_fmt))
    assert (large.width, large.height) == (2 * size[0], 2 * size[1])


@given(width=st.integers(1, 70), height=st.integers(1, 70), scale=st.floats(0.3, 4.2), pix_fmt=st.sampled_from(FORMATS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_and_scale_works(model: Path, width: int, height: int, scale: float, pix_fmt: str) -> None:
    with Upscaler(model, scale, threads=1) as upscaler:
        large = upscaler(picture(width, height, pix_fmt))
        assert (large.width, large.height) == upscaler.output_size(width, height, pix_fmt)
    for plane in Frame(large).planes:  # noise within 20..80 % of the range: an unwritten row or column would be black
        assert plane.max(axis=0).all()
        assert plane.max(axis=1).all()


def test_very_wide_picture_is_tiled_within_memory(model: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc/self/status tells the peak of a process")
    code = (
        "import sys, av, numpy as np, streamsr; v = av.VideoFrame(16384, 512, 'yuv420p');\n"
        "for p in v.planes: np.frombuffer(p, np.uint8)[:] = 100\n"
        "g = streamsr.Upscaler(sys.argv[1])(v); assert (g.width, g.height) == (32768, 1024)\n"
        # not ru_maxrss, which begins with what the process that started this one held
        "print(int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) // 1024)"
    )
    peak = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True)
    assert int(peak.stdout) < 2000  # MiB


def test_bare_model_needs_no_description(network: Network, tmp_path: Path) -> None:
    path = write_model(network, tmp_path, int8=False)
    path.with_suffix(".json").unlink()
    upscaler = Upscaler(path, threads=1)
    assert upscaler(picture()).width == 96
    assert upscaler.spec is not None
    assert upscaler.spec.scale == 2


def test_resize_needs_no_engine() -> None:
    upscaler = Upscaler("resize", 3, threads=1)
    assert (upscaler.engine, upscaler.precision, upscaler.spec) == ("resize", "exact", None)
    assert upscaler(picture()).width == 144
    assert upscaler.num_upscaled == 1


def test_properties_say_what_runs(model: Path) -> None:
    with Upscaler(model, threads=1) as upscaler:
        assert upscaler.engine in ("openvino", "onnxruntime")
        upscaler.prepare(48, 32, "yuv420p10le")
        assert upscaler.precision in upscaler.reason
        assert upscaler.precision != "int8"
        assert upscaler.device == "cpu"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale": 0}, "scale is 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": "2"}, "scale is '2'"),
        ({"size": (0, 10)}, "size is (0, 10)"),
        ({"engine": "magic"}, "Unknown engine 'magic'"),
        ({"model": "nope"}, "no model 'nope'"),
        ({"threads": -2}, "threads is -2"),
    ],
)
def test_options_that_cannot_be_are_usage_errors(model: Path, options: dict, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Upscaler(**({"model": model} | options))
    assert text in str(caught.value)


@pytest.mark.parametrize("thing", [3, None, 2.5])
def test_what_is_no_picture_is_a_type_error(model: Path, thing: object) -> None:
    with pytest.raises(TypeError, match="Cannot upscale"):
        Upscaler(model)(thing)  # type: ignore[call-overload]


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_wrong_array_is_a_value_error(model: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="An RGB array is"):
        Upscaler(model)(array)


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("limited", [False, True])
def test_putting_back_the_luma_that_was_taken_changes_nothing(bits: int, limited: bool) -> None:
    video = picture(40, 30, {8: "gbrp", 10: "gbrp10le", 16: "gbrp16le"}[bits])
    video.color_range = 1 if limited else 2
    planes = Frame(video).planes
    before = [plane.copy() for plane in planes]
    luma = LumaOfRgb.of(video, bits)
    luma.put(luma.take(planes), planes)
    for plane, original in zip(planes, before, strict=True):
        assert np.abs(plane.astype(int) - original).max() <= 1


def test_import_is_light() -> None:
    code = "import sys, streamsr; print([m for m in ('numpy', 'av', 'openvino') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    assert set(streamsr.__all__) <= set(dir(streamsr))
    for name in streamsr.__all__:
        assert getattr(streamsr, name) is not None


def test_a_source_takes_the_models_form_for_it(shipped_forms: Path) -> None:
    with Upscaler("coded", threads=1) as upscaler:
        for form, name in (("clean", "clean"), ("picture", "sharp"), (None, "coded")):
            upscaler.turn_to(2, form=form)  # type: ignore[arg-type]
            assert upscaler.model == name
            assert [spec.name for spec in upscaler.specs] == [name]
        upscaler.turn_to(4, form="clean")
        assert upscaler.model == "clean"  # twice
    description = shipped_forms / "coded_x2.json"
    with Upscaler(description.with_suffix(".onnx"), threads=1) as upscaler:
        for form in ("clean", "picture"):
            upscaler.turn_to(2, form=form)  # type: ignore[arg-type]
            assert [spec.name for spec in upscaler.specs] == ["coded"]  # a path is what was asked for
    description.write_text(json.dumps(json.loads(description.read_text()) | {"scale": 3}))
    with Upscaler("coded", threads=1) as upscaler:
        upscaler.turn_to(3, form="clean")
        assert upscaler.model == "coded"  # there is no clean form at x3


def test_an_array_alone_takes_the_form_for_pictures_and_frames_do_not(shipped_forms: Path) -> None:
    rng = np.random.default_rng(0)
    rgb, other = (rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(2))
    video = picture(32, 24)

    def luma_of(model: object, frame: av.VideoFrame) -> np.ndarray:
        with Upscaler(model, threads=1) as upscaler:  # type: ignore[arg-type]
            return Frame(upscaler(frame)).luma.copy()

    def made_by(name: str, *arrays: np.ndarray) -> list[np.ndarray]:
        with Upscaler(shipped_forms / f"{name}_x2.onnx", threads=1) as upscaler:
            return [upscaler(array) for array in arrays]

    with Upscaler("coded", threads=1) as upscaler:
        assert np.array_equal(upscaler(rgb), made_by("sharp", rgb)[0])
        assert np.array_equal(Frame(upscaler(video)).luma, luma_of(shipped_forms / "coded_x2.onnx", video))
        for got, wanted in zip(upscaler(iter([rgb, other])), made_by("coded", rgb, other), strict=True):  # type: ignore[call-overload]
            assert np.array_equal(got, wanted)  # an iterable is a stream
        assert np.array_equal(upscaler(other), made_by("sharp", other)[0])
    with Upscaler("coded", 4, threads=1) as upscaler:
        assert np.array_equal(upscaler(rgb), Upscaler(shipped_forms / "sharp_x2.onnx", 4, threads=1)(rgb))  # twice
    assert not np.array_equal(made_by("coded", rgb)[0], made_by("sharp", rgb)[0])
