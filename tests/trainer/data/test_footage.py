"""Videos as training data: runs of one scene, codes as they are, and clear words for files that cannot be used."""

import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from trainer.data import scene_pool
from trainer.data.codec import coded_pairs
from trainer.data.footage import list_footage, read_run, read_still
from trainer.data.pair_cache import open_cache
from trainer.data.stills import NUM_SOFT, clean_pairs
from trainer.trainer_error import TrainerError


def write_video(path: pathlib.Path, frames: list[np.ndarray]) -> pathlib.Path:
    """Lossless H.264 of luma planes (H, W)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"qp": "0", "preset": "ultrafast", "g": "12", "threads": "1"})
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for plane in frames:
            chroma = np.full((plane.shape[0] // 2, plane.shape[1]), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.concatenate([plane, chroma]), format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def scene(seed: int, num_frames: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A texture that drifts by a pixel a frame; its mean says which scene it is of, its phase which frame."""
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(0, 60, ((height + num_frames) // 8 + 1, width // 8 + 1)), np.ones((8, 8), int))
    base = 40 + 120 * (seed % 2)
    return [(base + texture[t : t + height, :width]).astype(np.uint8) for t in range(num_frames)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    frames = [frame for seed in range(4) for frame in scene(seed, 30)]
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


def test_a_run_is_consecutive_and_of_one_scene(video: pathlib.Path) -> None:
    every = {frame.tobytes(): (seed, t) for seed in range(4) for t, frame in enumerate(scene(seed, 30))}
    starts = set()
    for seed in range(12):
        # as large as the video: neither cut nor made smaller
        run = read_run(video, np.random.default_rng(seed), num_frames=12, side=96)
        with pytest.raises(TrainerError, match="128x96; training needs 97"):
            read_run(video, np.random.default_rng(seed), num_frames=12, side=97)
        whole = {plane[:, x : x + 96].tobytes(): key for plane, key in _planes(every) for x in range(33)}
        places = [whole[frame.tobytes()] for frame in run]
        assert [t for _, t in places] == list(range(places[0][1], places[0][1] + 12))
        assert len({scene for scene, _ in places}) == 1
        starts.add(places[0])
    assert len(starts) > 4  # anywhere in the file


def _planes(every: dict[bytes, tuple[int, int]]) -> list[tuple[np.ndarray, tuple[int, int]]]:
    return [(np.frombuffer(data, np.uint8).reshape(96, 128), key) for data, key in every.items()]


def test_large_pictures_are_made_smaller(video: pathlib.Path) -> None:
    run = read_run(video, np.random.default_rng(0), num_frames=3, side=48)
    assert [frame.shape for frame in run] == [(48, 48)] * 3
    assert read_still(video, 0).shape == (96, 128, 3)


def test_files_that_cannot_be_used_are_named(video: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "noise.mp4").write_bytes(b"nothing")
    with pytest.raises(TrainerError, match=r"Cannot decode the video .*noise\.mp4"):
        read_run(tmp_path / "noise.mp4", rng, num_frames=3, side=48)
    short = write_video(tmp_path / "short.mp4", scene(0, 5))
    with pytest.raises(TrainerError, match=r"short\.mp4' has no 12 frames of one scene"):
        read_run(short, rng, num_frames=12, side=48)
    cuts = write_video(tmp_path / "cuts.mp4", [frame for seed in range(8) for frame in scene(seed, 4)])
    with pytest.raises(TrainerError, match="has no 12 frames of one scene"):
        read_run(cuts, rng, num_frames=12, side=48)
    black = write_video(tmp_path / "black.mp4", [np.full((96, 128), 16, np.uint8)] * 20)
    with pytest.raises(TrainerError, match="that show something"):
        read_run(black, rng, num_frames=12, side=48)
    data = video.read_bytes()
    (tmp_path / "cut_off.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainerError, match=r"cut_off\.mp4"):
        read_run(tmp_path / "cut_off.mp4", rng, num_frames=12, side=48)


def test_pairs_of_a_video_and_a_bad_one_are_counted(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_video(tmp_path / "good.mp4", scene(0, 14, 400, 416))
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"nothing")
    cache = open_cache(tmp_path / "c", [bad, good], make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
    assert len(cache.pairs) == 1 + NUM_SOFT
    said = capsys.readouterr().out
    assert "bad.mkv" in said
    assert "1 photographs skipped" in said
    pairs = coded_pairs(good, 1, 2)
    assert [hr.shape for hr, _ in pairs] == [(384, 384)] * 3


def test_scenes_of_a_pool_come_out_of_videos_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 1)
    monkeypatch.setattr(scene_pool, "SCENES_OF_VIDEO", 3)
    planes = scene(3, 24, 352, 384)
    video = write_video(tmp_path / "film.mp4", planes)
    scene_pool.make_pool([video], tmp_path / "pool", scale=2, rounds=1)
    files = sorted((tmp_path / "pool").glob("video_*.npz"))
    assert [file.name for file in files] == [f"video_{number:02d}_film.npz" for number in range(3)]
    for file in files:
        with np.load(file) as arrays:
            assert arrays["hy"].shape == (2, 320, 320)
            # texture as it was, within what a smaller picture and RGB change of it
            assert abs(float(arrays["hy"].mean()) - float(np.mean(planes))) < 6
            assert arrays["hc"].std() < 2


def test_a_folder_lists_photographs_and_videos(tmp_path: pathlib.Path) -> None:
    for name in ("b.mp4", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_footage(tmp_path)] == ["a.png", "b.mp4"]
