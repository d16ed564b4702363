"""Files and options from elsewhere, out of every range: clear errors. The fuzz tests are bounded and seeded."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_clip, streamsr

from streamsr.commands.toml_config import read_config
from streamsr.errors import EngineError, StreamsrError, UsageError
from streamsr.live.address import check_input
from streamsr.live.output_target import find_target
from streamsr.live.redaction import redact, redact_text
from streamsr.live.srt import parse_srt
from streamsr.models import WEIGHTS, load_spec
from streamsr.options import LiveOptions

DEEP = 100_000
SHIPPED: dict[str, Any] = json.loads((WEIGHTS / "base_x2.json").read_text())
CONFIG = '[defaults]\nmax-latency = 300\n[streams.gate]\ninput = "rtsp://gate/stream"\noutput = "udp://127.0.0.1:2"\ncrf = 23\n'


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 0}, "'scale' is 0; it must be 1 to 16"), ({"scale": 10**400}, "'scale' is a number of many digits"),
        ({"size_multiple": 0}, "'size_multiple' is 0; it must be 1 to 256"), ({"channels": 1 << 40}, "it must be 1 to 4096"),
        ({"receptive_field": 1 << 30}, "'receptive_field' is"), ({"state_shapes": [{"name": "s", "channels": 1 << 30}]}, "'channels' is"),
        ({"state_shapes": [{"name": "s", "channels": 4, "scale": 0}]}, "'scale' is 0"), ({"state_shapes": [{}] * 65}, "has 65 entries"),
        ({"file": "../../etc/passwd"}, "must be a file in the same folder"), ({"file": "/etc/passwd"}, "must be a file in the same folder"),
        ({"int8": "yes"}, "'int8' is 'yes'"), ({"sha256": "0"}, "64 hexadecimal digits"), ({"look": ["natural"]}, "'look' is"),
        ({"name": "x" * 10_000 + "\x1b", "scale": None}, "'scale' is None"),
    ],
    ids=range(14),
)  # fmt: skip
def test_description_out_of_range_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(SHIPPED | changes))
    with pytest.raises(EngineError, match=words.replace("[", r"\[")) as caught:
        load_spec(path)
    assert len(str(caught.value)) < 500


def test_nested_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("[" * DEEP + "]" * DEEP)
    with pytest.raises(EngineError, match="nested too deeply"):
        load_spec(path)


def test_digest_of_a_foreign_file_is_not_told(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "m.onnx").symlink_to("/etc/hostname")
    (tmp_path / "m.json").write_text(json.dumps(SHIPPED | {"file": "m.onnx"}))
    with pytest.raises(EngineError, match="damaged or was changed") as caught:
        load_spec(tmp_path / "m.json").read()
    assert hashlib.sha256(Path("/etc/hostname").read_bytes()).hexdigest() not in str(caught.value)


@pytest.mark.parametrize("text", ["a = " + "[" * DEEP, "a = " + "{b=" * DEEP, "a." * DEEP + "b = 1", f"a = {'9' * 10_000}"], ids=range(4))
def test_toml_without_measure_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "streams.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"streams\.toml"):
        read_config(path)


@pytest.mark.parametrize(
    "words",
    [("--crf", "nan"), ("--crf", "inf"), ("--crf", "1e9"), ("--scale", "nan"), ("--input-rate", "1e999999999"), ("--input-rate", "nan"),
     ("--max-latency", "nan"), ("--timeout", "9" * 5000), ("--threads", "9" * 5000), ("--size", "9" * 5000 + "x1"), ("--frames", "²")],
    ids=range(11),
)  # fmt: skip
def test_numbers_that_are_none_are_refused(tmp_path: Path, words: tuple[str, str]) -> None:
    clip = make_clip(tmp_path / "in.mp4", num_frames=1)
    outcome = streamsr("run", clip, tmp_path / "out.mkv", *words)
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4), max_leaves=8
)


KEYS = st.sampled_from(sorted(SHIPPED)) | st.text(max_size=10)


@settings(max_examples=200)
@given(changes=st.dictionaries(KEYS, JSON, max_size=4), cut=st.none() | st.integers(0, 2000))
def test_any_description_ends_in_words(tmp_path: Path, changes: dict[str, Any], cut: int | None) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(SHIPPED | changes)[:cut], encoding="utf-8", errors="surrogatepass")
    with suppress(StreamsrError):
        spec = load_spec(path)
        assert spec.path.parent == tmp_path


PIECES = st.text(max_size=20) | st.sampled_from(["[[", "{", '"', "= nan", "= inf", "= -1", "\\", "= 1e400"])


@settings(max_examples=200)
@given(at=st.integers(0, len(CONFIG)), inserted=PIECES, deleted=st.integers(0, 12))
def test_any_toml_ends_in_words(tmp_path: Path, at: int, inserted: str, deleted: int) -> None:
    path = tmp_path / "streams.toml"
    text = CONFIG[:at] + inserted + CONFIG[at + deleted :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(StreamsrError):
        streams = read_config(path)
        assert tomllib.loads(path.read_text())["streams"].keys() == {stream.name for stream in streams}


SCHEMES = st.sampled_from(["rtsp", "rtmp", "srt", "udp", "http", "tcp", "file", "s3", "x", ""])


@settings(max_examples=200)
@given(
    url=st.builds("{}://{}".format, SCHEMES, st.text(max_size=40))
    | st.builds("{}://u:p@{}:{}/{}?{}".format, SCHEMES, *[st.text(max_size=12)] * 4) | st.text(max_size=20)
)  # fmt: skip
def test_any_url_ends_in_words(url: str) -> None:
    for read in (check_input, parse_srt, lambda text: find_target(text, None, LiveOptions())):
        with suppress(StreamsrError):
            read(url)
    assert redact(redact(url)) == redact(url)
    redact_text(f"error: {url} failed", url)
