"""Inputs and segments in stores: what comes out is what comes from a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import make_clip, rows, streamsr, tone, upscale
from stores import http_server, s3_server

from streamsr.errors import SourceError
from streamsr.io import remote
from streamsr.jobs.segment_store import Store

pytestmark = pytest.mark.network
CUT = ("--segment-seconds", "1", "--preset", "ultrafast", "--threads", "1")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("remote") / "in.mp4", "-c:a", "aac", "-g", "10", num_frames=100, inputs=tone(4))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


def same(a: Path, b: Path) -> bool:
    return all(rows(a, stream, copy=True) == rows(b, stream, copy=True) for stream in ("v:0", "a:0"))


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_input_behind_a_url_is_cut_as_a_file_is(clip: Path, bucket: str, tmp_path: Path, kind: str) -> None:
    import fsspec

    upscale(clip, tmp_path / "a.mp4", *CUT)
    with http_server(clip.parent) as site:
        url = f"{site}/in.mp4"
        if kind == "s3":
            url = f"{bucket}/in.mp4"
            fsspec.filesystem("s3").put_file(str(clip), url)
        upscale(url, tmp_path / "b.mp4", *CUT, "--report", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["num_segments"] > 2
    assert same(tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_missing_file_in_a_store_is_an_input_error(bucket: str, tmp_path: Path) -> None:
    outcome = streamsr("run", f"{bucket}/none.mp4", tmp_path / "out.mp4")
    assert outcome.code == 3
    assert f"{bucket}/none.mp4: no such file" in outcome.err


@pytest.mark.parametrize("kind", ["s3", "disk"])
def test_store_holds_what_was_published_and_nothing_else(bucket: str, tmp_path: Path, kind: str) -> None:
    store = Store({"s3": f"{bucket}/job", "disk": str(tmp_path / "job")}[kind])
    store.prepare()
    one, other = store.create("00000"), store.create("00001")
    for draft in (one, other):
        draft.write(b"packets" * 1000)
    assert store.size(one.name) is None
    one.publish()
    other.discard()
    assert store.size(one.name) == 7000
    assert store.describe(one.name) == (7000, one.checksum)
    assert store.describe(other.name) is None
    with store.open(one.name) as file:
        assert file.read(7) == b"packets"
    store.clear(keep=[one.name])
    assert store.size(one.name) == 7000
    store.clear()
    assert store.size(one.name) is None
    store.remove()
    store.remove()


def test_url_that_needs_a_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"pip install 'streamsr\[cluster\]'"):
        remote.open_file("s3://films/in.mp4")


def test_facts_of_an_input_hide_what_signs_it() -> None:
    assert remote.hide_secrets("https://user:word@host:8/a/b.mp4?X-Amz-Signature=1#t") == "https://host:8/a/b.mp4"
    assert remote.hide_secrets("/films/a.mp4") == "/films/a.mp4"
