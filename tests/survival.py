"""What survives into which container: tried with small clips, judged by Debian's ffprobe, written as the table of docs/containers.md.

`STREAMSR_DATA=... python tests/survival.py docs/containers.md` makes it anew; tests/io/test_survival.py holds the file against it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from media import ffmpeg, make_clip, program, streamsr, tone

from streamsr.side_data import Kind, read_side_data

CONTAINERS = ("mp4", "mov", "mkv", "webm", "ts", "avi", "mxf")
Facts = dict[str, Any]


def probe(path: Path) -> Facts:
    """Streams, chapters, format and the first pictures, as ffprobe says."""
    command = [program("ffprobe"), "-v", "error", "-show_streams", "-show_programs", "-show_chapters",
               "-show_format", "-show_frames", "-read_intervals",
               "%+#3", "-of", "json", str(path)]  # fmt: skip
    found: Facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found | {"path": path}


def carries(kind: Kind) -> Callable[[Facts], str]:
    """Kept where the first picture has such side data; by PyAV's FFmpeg, because Debian's knows no HDR10+ in AV1."""

    def judge(facts: Facts) -> str:
        with av.open(str(facts["path"])) as container:
            return "kept" if read_side_data(next(container.decode(video=0)), kind) else ""

    return judge


def streams(facts: Facts, kind: str) -> list[Facts]:
    return [stream for stream in facts["streams"] if stream["codec_type"] == kind]


def side(facts: Facts) -> str:
    return json.dumps([facts["streams"], facts["frames"]])


def codec(kind: str, name: str) -> Callable[[Facts], str]:
    """Kept where a stream has this codec, else what it became."""

    def judge(facts: Facts) -> str:
        found = [stream["codec_name"] for stream in streams(facts, kind)]
        return "kept" if name in found else f"as {found[0]}" if found else ""

    return judge


def has(test: Callable[[Facts], bool]) -> Callable[[Facts], str]:
    return lambda facts: "kept" if test(facts) else ""


def clip(folder: Path, name: str, *options: object, inputs: list[object] | None = None) -> Path:
    return make_clip(folder / name, *options, num_frames=10, inputs=inputs or [])


def subtitled(folder: Path) -> Path:
    (folder / "text.srt").write_text("1\n00:00:00,000 --> 00:00:00,200\nfirst\n\n2\n00:00:00,100 --> 00:00:00,400\nover it\n\n")
    return clip(folder, "text.mkv", "-c:s", "srt", inputs=["-i", folder / "text.srt"])


def service(folder: Path) -> Path:
    return clip(folder, "service.ts", "-metadata", "service_name=Television")


def rotated(folder: Path) -> Path:
    plain = clip(folder, "plain.mp4")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", folder / "rotated.mp4")
    return folder / "rotated.mp4"


def audio(name: str, *options: object) -> Callable[[Path], Path]:
    return lambda folder: clip(folder, f"{name}.mkv", "-c:a", *options, inputs=tone(0.4))


def fault(name: str) -> Callable[[Path], Path]:
    return lambda _: Path(os.environ["STREAMSR_DATA"]) / "faults" / name


MASTER = "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
HDR = ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc",
       "-x265-params", MASTER]  # fmt: skip


def hdr(folder: Path) -> Path:
    return clip(folder, "hdr.mkv", *HDR)


CHAPTERS = fault("chapters_title.mkv")
ROWS: dict[str, tuple[Callable[[Path], Path], Callable[[Facts], str]]] = {
    "pixel aspect": (lambda at: clip(at, "sar.mkv", "-vf", "setsar=16/11"), has(lambda f: f["streams"][0]["sample_aspect_ratio"] != "1:1")),
    "rotation": (rotated, has(lambda f: "Display Matrix" in side(f))),
    "HDR10 (mastering display)": (hdr, carries(Kind.MASTERING)),
    "HDR10 (light level)": (hdr, carries(Kind.LIGHT_LEVEL)),
    "HDR10+": (fault("hdr10plus.mp4"), carries(Kind.HDR10_PLUS)),
    "closed captions": (fault("cea608.mp4"), has(lambda f: "Closed Captions" in side(f))),
    "alpha": (lambda at: clip(at, "alpha.mkv", "-vf", "format=yuva420p,colorchannelmixer=aa=0.5", "-c:v", "ffv1"),
              has(lambda f: re.search('"pix_fmt": "(yuva|bgra)|alpha_mode', side(f), re.IGNORECASE) is not None)),
    "AAC": (audio("aac", "aac"), codec("audio", "aac")),
    "E-AC-3 5.1": (fault("eac3.mkv"), codec("audio", "eac3")),
    "FLAC": (audio("flac", "flac"), codec("audio", "flac")),
    "TrueHD": (fault("truehd.mkv"), codec("audio", "truehd")),
    "PCM, 16 bits": (audio("pcm", "pcm_s16le"), codec("audio", "pcm_s16le")),
    "text subtitles": (subtitled, codec("subtitle", "subrip")),
    "chapters": (CHAPTERS, has(lambda f: len(f["chapters"]) == 2)),
    "title": (CHAPTERS, has(lambda f: "title" in {key.lower() for key in f["format"].get("tags", {})})),
    "name of the service": (service, has(lambda f: "Television" in json.dumps([f["format"], f["programs"]]))),
    "cover picture": (fault("cover.mp4"), has(lambda f: any(stream["disposition"]["attached_pic"] for stream in f["streams"]))),
    "camera data track (gpmd)": (fault("gpmd_track.mp4"), has(lambda f: bool(streams(f, "data")))),
}  # fmt: skip


def try_one(source: Path, judge: Callable[[Facts], str], out: Path) -> str:
    """ "kept", "as CODEC", "named" where it is lost and said so, or what went wrong. out: made, unless another row has made it."""
    words = out.with_suffix(f"{out.suffix}.txt")
    if not words.exists():
        outcome = streamsr("run", source, out, "--model", "resize", "--scale", "1")
        words.write_text(outcome.err)
        if outcome.code:
            return f"exit {outcome.code}"
    found = judge(probe(out))
    lost = re.search(r"dropped|: \S+ has none", words.read_text()) is not None
    return found or ("named" if lost else "LOST IN SILENCE")


def make_table() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"| | {' | '.join(CONTAINERS)} |", f"|---|{'---|' * len(CONTAINERS)}"]
        made: dict[object, Path] = {}
        for row, (make, judge) in ROWS.items():
            source = made[make] if make in made else make(folder)
            made[make] = source
            cells = [try_one(source, judge, folder / f"{source.stem}-out.{suffix}") for suffix in CONTAINERS]
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


HEAD = """# What each container preserves

With the encoder that streamsr chooses. `kept`: unchanged. `as X`: converted to X, with a message. `named`: the container or the
encoder cannot hold it; a message says so, and with `--strict` it is an error. Written by `python tests/survival.py docs/containers.md`,
which tries each pair and checks it with ffprobe, or with PyAV's decoders where Debian's ffprobe is too old.

"""

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(HEAD + make_table())
