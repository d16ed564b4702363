"""The configuration of several streams: what it may say, and how it is told what it may not."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from media import streamsr

from streamsr.commands.toml_config import read_config
from streamsr.errors import UsageError
from streamsr.live.stream_config import StreamConfig
from streamsr.options import EncoderOptions, LiveOptions, UpscaleOptions

GOOD = '[streams.gate]\ninput = "rtsp://127.0.0.1:1/a"\noutput = "udp://127.0.0.1:2"\n'


def read(tmp_path: Path, text: str) -> list[StreamConfig]:
    path = tmp_path / "streams.toml"
    path.write_text(text)
    return read_config(path)


def test_a_stream_has_the_defaults_of_the_command_line(tmp_path: Path) -> None:
    (config,) = read(tmp_path, GOOD)
    assert (config.name, config.src, config.dst) == ("gate", "rtsp://127.0.0.1:1/a", "udp://127.0.0.1:2")
    assert config.options.upscale == UpscaleOptions()
    assert config.live == LiveOptions()
    assert config.options.sink.encode == EncoderOptions(options={})


def test_every_kind_of_value(tmp_path: Path) -> None:
    (config,) = read(tmp_path, GOOD + '''
scale = 1.5
max-latency = "0.3s"
timeout = 5
reconnect = "off"
fixed-model = true
crf = 30
preset = "veryfast"
encoder-option = { tune = "film", bf = 0 }
input-rate = "30000/1001"
frames = 10
overwrite = true
''')  # fmt: skip
    assert config.options.upscale.scale == 1.5
    assert config.live == LiveOptions(max_latency_s=0.3, timeout_s=5, reconnect=0, fixed_model=True)
    assert config.options.sink.encode == EncoderOptions(crf=30, preset="veryfast", options={"tune": "film", "bf": "0"})
    assert config.options.sink.overwrite
    assert config.options.source.input_rate == Fraction(30000, 1001)
    assert config.options.source.num_frames == 10


def test_defaults_hold_for_all_and_give_way(tmp_path: Path) -> None:
    first, second = read(tmp_path, '[defaults]\nscale = 3\nmax-latency = 300\nreconnect = 5\n' + GOOD + 'max-latency = 200\nsize = "4k"\n'
                         '[streams."back yard"]\ninput = "udp://127.0.0.1:3"\noutput = "out/%Y.mp4"\nreconnect = "forever"\n')  # fmt: skip
    assert (first.live.max_latency_s, second.live.max_latency_s) == (0.2, 0.3)
    assert (first.live.reconnect, second.live.reconnect) == (5, math.inf)
    assert first.options.upscale.size == (3840, 2160)
    assert (second.options.upscale.scale, second.options.upscale.size) == (3, None)
    assert second.name == "back yard"


def test_urls_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE", "rtsp://me:secret@127.0.0.1:1/a")
    text = GOOD.replace("rtsp://127.0.0.1:1/a", "env:GATE")
    assert read(tmp_path, text)[0].src == "rtsp://me:secret@127.0.0.1:1/a"
    monkeypatch.delenv("GATE")
    with pytest.raises(UsageError, match=r"streams.toml: \[streams.gate\]: env:GATE: the environment variable GATE is not set"):
        read(tmp_path, text)


OTHER = GOOD.replace("gate", "yard")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no stream"), ("x = 1\n" + GOOD, r"unknown table \[x\]"), ("streams = 3", "streams is 3; it must be a table"),
        ("[streams]\ngate = 3", r"\[streams.gate\] is 3; it must be a table"), ("[streams.gate", "Expected"),
        ("[defaults]\n" + GOOD.partition("\n")[2] + GOOD, r"\[defaults\]: unknown key 'input'"),
        ('[streams.gate]\noutput = "udp://127.0.0.1:2"', r"\[streams.gate\] has no input"),
        ('[streams.gate]\ninput = "udp://127.0.0.1:2"', r"\[streams.gate\] has no output"),
        (GOOD + "input = 'again'", "Cannot overwrite a value"),
        (GOOD.replace('"udp://127.0.0.1:2"', "7"), r"\[streams.gate\] output is 7; it must be a string"),
        (GOOD + "max_latency = 3", r"\[streams.gate\]: unknown key 'max_latency'.*did you mean max-latency"),
        (GOOD + "log-json = true", "unknown key 'log-json'"), (GOOD + "start = 3", "unknown key 'start'"),
        (GOOD + "max-latency = 5", r"\[streams.gate\]: --max-latency is 5 ms; it must be 20 to 60000"),
        (GOOD + "max-latency = true", r"\[streams.gate\] max-latency: true is neither a number nor a string"),
        (GOOD + "max-latency = 'soon'", r"\[streams.gate\] max-latency: 'soon' is not a time"),
        (GOOD + "fixed-model = 'yes'", r"\[streams.gate\] fixed-model: 'yes' is neither true nor false"),
        (GOOD + "model = 2", r"\[streams.gate\] model: 2 is not a string in quotes"), (GOOD + "crf = 'low'", "crf: 'low' is not a number"),
        (GOOD + "on-loss = 'wait'", r"\[streams.gate\] on-loss: 'wait' is none of hold, slate, stop"),
        (GOOD + "encoder-option = 3", "encoder-option: 3 is not a table"), (GOOD + "encoder-option = ['x']", "'x' is not KEY=VALUE"),
        (GOOD + "scale = 2\nsize = '4k'", "scale and size exclude each other"),
        (GOOD + "slate = 'a.png'", r"\[streams.gate\]: --slate needs --on-loss slate"),
        (GOOD + "report = 'no/report.json'", r"\[streams.gate\]: report no/report.json: the folder no does not exist"),
        (GOOD + OTHER, r"\[streams.yard\] output: udp://127.0.0.1:2 is the output of \[streams.gate\] too"),
        (GOOD.replace("udp://127.0.0.1:2", "a.mkv") + OTHER.replace("udp://127.0.0.1:2", "./a.mkv"), "is the output of"),
        (GOOD.replace("gate", "'a\\nb'"), "is no name"), (GOOD.replace("gate", "''"), "is no name"),
    ],
)  # fmt: skip
def test_what_cannot_be_names_file_table_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"(?s)streams.toml.*") as caught:
        read(tmp_path, text)
    assert re.search(words, str(caught.value)), str(caught.value)


def test_a_file_that_is_not_there_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_config(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (GOOD, 0, "1 streams, nothing wrong: gate"), (GOOD + "model = 'magic'", 2, "[streams.gate]: There is no model 'magic'"),
        (GOOD.replace("rtsp:", "gopher:"), 2, "[streams.gate]: gopher://127.0.0.1:1/a: unknown scheme 'gopher'"),
        (GOOD.replace("udp://127.0.0.1:2", "/no/such/folder/index.m3u8"), 6, "[streams.gate]: /no/such/folder/index.m3u8: the folder"),
        (GOOD + "segment-time = '10m'", 2, "--segment-time cuts files"), (GOOD + "encoder = 'magic'", 6, "[streams.gate]: "),
    ],
)  # fmt: skip
def test_check_looks_at_everything_and_connects_to_nothing(tmp_path: Path, text: str, code: int, words: str) -> None:
    (tmp_path / "streams.toml").write_text(text)
    outcome = streamsr("live", "--check", tmp_path / "streams.toml")
    assert outcome.code == code
    assert words in outcome.out + outcome.err


def test_the_documented_example_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD", "rtsp://127.0.0.1:1/yard")
    text = (Path(__file__).parents[2] / "docs/live.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert [config.name for config in read(tmp_path, example)] == ["gate", "back yard"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    unit = (Path(__file__).parents[2] / "docs/streamsr.service").read_text()
    (tmp_path / "streamsr.service").write_text(unit.replace("/opt/streamsr/bin/streamsr", "/bin/true"))
    done = subprocess.run([program, "verify", str(tmp_path / "streamsr.service")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "streamsr.service" not in done.stderr
