"""The frame account: what went in against what came out. It closes every run and is all that `verify` does.

Frames are counted, every pts is compared, tags and the other streams are read back from the finished file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error

from .errors import SourceError
from .io.containers import BY_SUFFIX
from .io.decoding import duration_s, settle_time
from .io.names import for_ffmpeg
from .io.source import Source, open_source
from .io.tags import Mastering, Tags
from .options import SourceOptions
from .stream_account import StreamFacts, check_streams


@dataclass(slots=True)
class Account:
    """Counts and comparisons; `problems` is empty when the account balances."""

    num_decoded: int = 0
    num_upscaled: int = 0
    num_encoded: int = 0
    num_muxed: int = 0
    num_corrupt_packets: int = 0
    timestamps: str = "not compared"  # "equal", "not compared" or what differs
    tags: str = "not compared"
    num_streams: int = 0  # copied or converted beside the video
    num_lost_packets: int = 0  # of those streams, each of which is named in a warning
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """The account in one line."""
        lost = f" but for {self.num_lost_packets} lost packets of other streams" if self.num_lost_packets else ""
        verdict = f"balanced{lost}" if self.ok else "NOT BALANCED: " + "; ".join(self.problems)
        return (
            f"account {verdict} | frames: {self.num_decoded} decoded, {self.num_upscaled} upscaled, {self.num_encoded} encoded, "
            f"{self.num_muxed} muxed | {self.num_corrupt_packets} corrupt packets | timestamps {self.timestamps} | tags {self.tags} | "
            f"{self.num_streams} other streams"
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a finished file holds, read from its packets and its first picture."""

    pts: list[Fraction]  # seconds, sorted, of the video's packets
    time_base: Fraction
    tags: Tags
    streams: list[StreamFacts]  # audio and subtitles


def check_counts(account: Account) -> None:
    """Frames decoded, upscaled, encoded and muxed have to be one number."""
    counts = {
        "decoded": account.num_decoded, "upscaled": account.num_upscaled, "encoded": account.num_encoded, "muxed": account.num_muxed,
    }  # fmt: skip
    if len(set(counts.values())) != 1:
        account.problems.append("frames lost: " + ", ".join(f"{number} {name}" for name, number in counts.items()))


def check_pts(account: Account, expected: Sequence[Fraction], found: Sequence[Fraction], tolerance: Fraction) -> None:
    """Compare presentation times in seconds, frame by frame."""
    if len(expected) != len(found):
        account.timestamps = f"differ: {len(expected)} frames in, {len(found)} out"
        account.problems.append(account.timestamps)
        return
    off = [index for index, (a, b) in enumerate(zip(expected, found, strict=True)) if abs(a - b) > tolerance]
    if off:
        first = off[0]
        account.timestamps = f"differ: {len(off)} frames, first #{first} at {float(found[first]):.6f} s for {float(expected[first]):.6f} s"
        account.problems.append(account.timestamps)
    else:
        account.timestamps = "equal"


def check_tags(account: Account, before: Tags, after: Tags, *, rotation: bool = True) -> None:
    """Compare what has to survive; what the input left unsaid may be said by the output."""
    names = ["matrix", "primaries", "transfer", "range", "chroma_location", "sar", "mastering", "light_level"]
    unsaid = {"matrix": 2, "primaries": 2, "transfer": 2, "range": 0, "chroma_location": "unspecified"}
    if rotation:
        names.append("rotation")
    if not _same_chroma_grid(before.pix_fmt, after.pix_fmt):
        names.remove("chroma_location")
    differences = []
    for name in names:
        a, b = getattr(before, name), getattr(after, name)
        if a == b or (name in unsaid and a == unsaid[name]) or (name == "mastering" and _close(a, b)):
            continue
        if name in ("matrix", "range") and b == unsaid[name] and av.VideoFormat(after.pix_fmt).is_rgb:
            continue  # which such pixels are of without a word
        if name == "sar" and abs(a - b) * before.width <= 1:
            continue  # WebM says how many pixels wide the picture is shown
        if name == "range" and {a, b} == {0, 1} and not before.pix_fmt.startswith(("gbr", "rgb")):
            continue  # YUV of unknown range is limited (ITU-T H.264 table E-2: the flag's default); x264 leaves it out
        differences.append(f"{name} {_word(before, name)} became {_word(after, name)}")
    account.tags = "equal" if not differences else "differ: " + ", ".join(differences)
    account.problems.extend(differences)


def read_facts(url: str) -> Facts:
    """Demux a file and decode its first picture. Raises SourceError."""
    with open_source(url, SourceOptions(deinterlace="off")) as source:
        tags, time_base, index = source.tags, source.time_base, source.stream.index
    times: list[Fraction] = []
    others: dict[int, StreamFacts] = {}
    onsets: dict[int, list[Fraction]] = {}
    try:
        with av.open(for_ffmpeg(url), metadata_errors="replace") as container:
            for stream in container.streams:
                if stream.index != index and stream.type in ("audio", "subtitle"):
                    others[stream.index], onsets[stream.index] = StreamFacts(stream.type), []
            for packet in container.demux():
                settle_time(packet, container)
                time = packet.pts if packet.pts is not None else packet.dts
                if not packet.size or time is None:
                    continue
                seconds = time * packet.time_base  # the file's own clock, which a run has set
                number = packet.stream.index
                if number == index and not packet.is_discard:
                    times.append(seconds)
                elif number in others:
                    others[number] = others[number].extended(seconds, seconds + duration_s(packet))
                    if others[number].kind == "subtitle":
                        onsets[number].append(seconds)
    except av.error.FFmpegError as error:
        raise SourceError(f"{url}: cannot be read back: {error}.") from error
    streams = [replace(facts, onsets_s=tuple(sorted(onsets[number]))) for number, facts in others.items()]
    return Facts(sorted(times), time_base, tags, streams)


def align(facts: Facts, first: Fraction) -> Facts:
    """`facts` with all streams moved by one amount, so that the first frame is at `first` seconds."""
    moved = facts.pts[0] - first if facts.pts else Fraction(0)
    return replace(facts, pts=[time - moved for time in facts.pts], streams=[stream.moved(moved) for stream in facts.streams])


def verify(before: str | Path, after: str | Path) -> Account:
    """The account of two existing files, decoded from start to end. Raises SourceError when one cannot be read."""
    account = Account()
    with open_source(before, SourceOptions(deinterlace="off")) as source:
        expected, first = _decode_all(source)
        account.num_corrupt_packets = source.count.num_corrupt_packets
    with open_source(after, SourceOptions(deinterlace="off")) as result:
        found, second = _decode_all(result)
        account.num_streams = len(result.other_streams)
        if result.count.num_corrupt_packets:
            account.problems.append(f"{result.count.num_corrupt_packets} corrupt packets in {after}")
    account.num_decoded, account.num_upscaled = len(expected), len(found)
    account.num_encoded = account.num_muxed = len(found)
    known = BY_SUFFIX.get(Path(after).suffix.lower())
    if result.is_broadcast or (known is not None and known.moves):  # such a clock starts anywhere
        found = [time - found[0] + expected[0] for time in found]
    check_pts(account, expected, found, tolerance=(source.time_base + result.time_base) / 2)
    if known is not None and known.tags:
        check_tags(account, first, second, rotation=known.rotation)
    if known is None or known.audio is not None:
        # packets need not be the same ones: who compares two files does not know what was converted
        a, b = (align(read_facts(str(path)), Fraction(0)).streams for path in (before, after))
        a = [replace(facts, is_copied=False) for facts in a]
        check_streams(account.problems, a, b)
    return account


def _decode_all(source: Source) -> tuple[list[Fraction], Tags]:
    pts = [Fraction(frame.pts or 0) * source.time_base for frame in source.frames()]
    return pts, source.tags


def _same_chroma_grid(a: str, b: str) -> bool:
    return "420" in a and "420" in b


def _close(a: object, b: object) -> bool:
    """Mastering data passes through integers of 0.00002 and 0.0001; either half may be absent."""
    if not isinstance(a, Mastering) or not isinstance(b, Mastering):
        return False
    if (a.primaries is None, a.luminance is None) != (b.primaries is None, b.luminance is None):
        return False
    numbers, others = ([x for xy in (*(one.primaries or ()), one.luminance or ()) for x in xy] for one in (a, b))
    return all(abs(x - y) <= 1e-4 + 1e-3 * abs(x) for x, y in zip(numbers, others, strict=True))


def _word(tags: Tags, name: str) -> object:
    return tags.rotation if name == "rotation" else tags.describe().get(name)
