"""benchmarks/sheet.py: named places in clips by Lanczos and by models, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from benchmark_module import open_benchmark
from make_chroma import make_weights, write_chroma_model


@pytest.fixture(scope="module")
def sheet() -> Any:
    return open_benchmark("sheet")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clip: 48x32, dark with a light square at (20, 8) to (28, 16)."""
    folder = tmp_path_factory.mktemp("clips")
    planes = np.full((48, 48), 128, np.uint8)
    planes[:32] = 40
    planes[8:16, 20:28] = 200
    with av.open(str(folder / "square.mkv"), "w") as container:
        stream = container.add_stream("ffv1", 25, width=48, height=32, pix_fmt="yuv420p")
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return folder


def write_places(folder: Path, *rows: str) -> Path:
    table = folder / "places.csv"
    table.write_text("\n".join(["clip,time_s,crop,shows", *rows]) + "\n")
    return table


def run(sheet: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sheet.py", *map(str, arguments)])
    sheet.main()


def test_crops_are_those_places_by_lanczos_and_each_model(sheet: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    model = write_chroma_model(make_weights(2), tmp_path)
    table = write_places(tmp_path, "square.mkv,0.04,8x8+20+8,the square", "square.mkv,0.04,10x8+0+0,a corner")
    run(sheet, monkeypatch, clips, "--places", table, "--model", "resize", model, "--output", tmp_path / "sheet.png", "--threads", 1)
    with Image.open(tmp_path / "sheet.png") as image:
        made = np.asarray(image).astype(int)
    cell = 8 * 2 * 2 + sheet.LINE + sheet.GAP
    assert made.shape == (2 * cell, 2 * (10 * 2 * 2 + sheet.GAP) + (10 * 2 * 2 + sheet.GAP), 3)
    inside = slice(sheet.LINE + 8, sheet.LINE + 24)
    square, corner = made[inside, 8:24], made[cell + sheet.LINE : 2 * cell - sheet.GAP, :40]
    # studio codes 200 and 40 as RGB, away from where Lanczos rings
    assert abs(square.mean() - (200 - 16) * 255 / 219) < 6
    assert abs(corner.mean() - (40 - 16) * 255 / 219) < 2
    rows = made[sheet.LINE : cell - sheet.GAP, :32]
    assert np.array_equal(rows[::2], rows[1::2])  # each pixel twice, nothing smoothed


def test_mistakes_are_named(
    sheet: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "sheet.png"
    table = write_places(tmp_path, "square.mkv,0,40x8+20+8,too far")
    with pytest.raises(ValueError, match=r"square\.mkv: crop 40x8\+20\+8 leaves the source's 48x32 pixels"):
        run(sheet, monkeypatch, clips, "--places", table, "--model", "resize", "--output", target)
    for rows, extra, message in ((["other.mkv,0,8x8+0+0,x"], [], "has no other.mkv"), (["square.mkv,0,8x8+0+0,x"], ["--only", "y"], "'y'")):
        with pytest.raises(SystemExit):
            run(sheet, monkeypatch, clips, "--places", write_places(tmp_path, *rows), "--output", target, *extra)
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"line 2: give clip,time_s,crop,shows"):
        sheet.read_places(write_places(tmp_path, "square.mkv,0,8x8,x"))
    assert not target.exists()


def test_table_names_places_of_eight_clips(sheet: Any) -> None:
    places = sheet.read_places(sheet.PLACES)
    assert len({place.clip for place in places}) >= 8
    assert all(place.shows and place.time_s >= 0 for place in places)
