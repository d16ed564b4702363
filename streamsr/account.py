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
from .io.source import LONGEST_PRIMING_S, Source, open_source
from .io.tags import Mastering, Tags
from .options import SourceOptions

_SYNC_S = Fraction(3, 2000)  # a millisecond, and half a tick where the input's own clock counts milliseconds


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
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """The account in one line."""
        verdict = "balanced" if self.ok else "NOT BALANCED: " + "; ".join(self.problems)
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
    streams: dict[str, list[tuple[int, Fraction | None]]]  # by type: (packets, first time in seconds) of each other stream


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
    others: dict[int, tuple[str, int, Fraction | None]] = {}
    try:
        with av.open(url, metadata_errors="replace") as container:
            for stream in container.streams:
                if stream.index != index and stream.type in ("audio", "subtitle"):
                    others[stream.index] = (stream.type, 0, None)
            for packet in container.demux():
                time = packet.pts if packet.pts is not None else packet.dts
                if not packet.size or time is None:
                    continue
                seconds = time * packet.time_base  # the file's own clock, which a run has set
                if packet.stream.index == index and not packet.is_discard:
                    times.append(seconds)
                elif packet.stream.index in others:
                    kind, count, first = others[packet.stream.index]
                    others[packet.stream.index] = (kind, count + 1, seconds if first is None else first)
    except av.error.FFmpegError as error:
        raise SourceError(f"{url}: cannot be read back: {error}.") from error
    streams: dict[str, list[tuple[int, Fraction | None]]] = {}
    for kind, count, first in others.values():
        streams.setdefault(kind, []).append((count, first))
    return Facts(sorted(times), time_base, tags, streams)


def align(facts: Facts, first: Fraction) -> Facts:
    """`facts` with all streams moved by one amount, so that the first frame is at `first` seconds."""
    moved = facts.pts[0] - first if facts.pts else Fraction(0)
    streams = {
        kind: [(count, None if start is None else start - moved) for count, start in found] for kind, found in facts.streams.items()
    }
    return replace(facts, pts=[time - moved for time in facts.pts], streams=streams)


def check_sync(account: Account, expected: Sequence[Fraction | None], facts: Facts) -> None:
    """Each sound stream has to start when it did: `expected` are the first times in seconds, None for silent ones."""
    found = [first for _, first in facts.streams.get("audio", [])]
    if len(found) != len(expected):
        account.problems.append(f"{len(expected)} sound streams in, {len(found)} out")
        return
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a is None or b is None or (a < 0 and abs(b) <= LONGEST_PRIMING_S):
            continue  # what an encoder puts before the sound may be left out or made anew
        if abs(a - b) > _SYNC_S:
            account.problems.append(f"sound {number} starts {float(b - a) * 1000:+.1f} ms off")


def check_sound(account: Account, expected: Sequence[int | None], facts: Facts) -> None:
    """No packet of a copied sound stream may be missing: `expected` are their numbers, None where they may be cut anew."""
    for number, (wanted, (count, _)) in enumerate(zip(expected, facts.streams.get("audio", []), strict=False)):
        if wanted is not None and count < wanted:
            account.problems.append(f"sound {number} lost packets: {wanted} in, {count} out")


def verify(before: str | Path, after: str | Path) -> Account:
    """The account of two existing files, decoded from start to end. Raises SourceError when one cannot be read."""
    account = Account()
    with open_source(before, SourceOptions(deinterlace="off")) as source:
        expected, first, streams = _decode_all(source)
        account.num_corrupt_packets = source.count.num_corrupt_packets
    with open_source(after, SourceOptions(deinterlace="off")) as result:
        found, second, other = _decode_all(result)
        if result.count.num_corrupt_packets:
            account.problems.append(f"{result.count.num_corrupt_packets} corrupt packets in {after}")
    account.num_decoded, account.num_upscaled = len(expected), len(found)
    account.num_encoded = account.num_muxed = len(found)
    account.num_streams = len(other)
    known = BY_SUFFIX.get(Path(after).suffix.lower())
    if result.is_broadcast or (known is not None and known.moves):  # such a clock starts anywhere
        found = [time - found[0] + expected[0] for time in found]
    check_pts(account, expected, found, tolerance=(source.time_base + result.time_base) / 2)
    if known is not None and known.tags:
        check_tags(account, first, second, rotation=known.rotation)
    if known is None or known.audio is not None:
        for kind in ("audio", "subtitle"):
            a, b = streams.count(kind), other.count(kind)
            if b < a:
                account.problems.append(f"{a} {kind} streams in, {b} out")
        if streams.count("audio") == other.count("audio"):
            check_sync(account, _first_sounds(before), align(read_facts(str(after)), Fraction(0)))
    return account


def _first_sounds(url: str | Path) -> list[Fraction | None]:
    """When each sound stream starts, in seconds from the first frame."""
    return [first for _, first in align(read_facts(str(url)), Fraction(0)).streams.get("audio", [])]


def _decode_all(source: Source) -> tuple[list[Fraction], Tags, list[str]]:
    pts = [Fraction(frame.pts or 0) * source.time_base for frame in source.frames()]
    return pts, source.tags, [stream.type for stream in source.other_streams]


def _same_chroma_grid(a: str, b: str) -> bool:
    return "420" in a and "420" in b


def _close(a: object, b: object) -> bool:
    """Mastering data passes through integers of 0.00002 and 0.0001."""
    if not isinstance(a, Mastering) or not isinstance(b, Mastering):
        return False
    if a.primaries is None or b.primaries is None or a.luminance is None or b.luminance is None:
        return False
    numbers = [x for xy in (*a.primaries, a.luminance) for x in xy]
    others = [x for xy in (*b.primaries, b.luminance) for x in xy]
    return all(abs(x - y) <= 1e-4 + 1e-3 * abs(x) for x, y in zip(numbers, others, strict=True))


def _word(tags: Tags, name: str) -> object:
    return tags.rotation if name == "rotation" else tags.describe().get(name)
