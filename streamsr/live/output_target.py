"""Target: where a live stream goes, and how each kind of place is written."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import SinkError, UsageError
from ..io.containers import MATROSKA, MP4, MPEGTS, NUT, OutputFormat, find_format
from ..io.output_check import check_encoder, check_output, partial_path
from ..options import LiveOptions, SinkOptions
from .address import scheme_of
from .redaction import redact
from .segment_names import name_file
from .srt import parse_srt

# What a late stream may hold up the others: FFmpeg would wait 10 s for audio before it writes a picture
_LIVE_MUX = (("max_interleave_delta", "100000"), ("flush_packets", "1"))
_AAC_MP3 = frozenset({"aac", "mp3"})
_RTP_AUDIO = frozenset({"aac", "mp2", "mp3", "opus", "ac3", "pcm_mulaw", "pcm_alaw", "pcm_s16be", "adpcm_g722", "g722", "vorbis"})
_TS = OutputFormat("mpegts", audio="aac", options=(("mpegts_copyts", "1"), ("mpegts_flags", "resend_headers"), *_LIVE_MUX))
_FLV = OutputFormat("flv", audio="aac", audio_codecs=_AAC_MP3, options=(("flvflags", "no_duration_filesize"), *_LIVE_MUX))
_RTSP = OutputFormat("rtsp", audio="aac", audio_codecs=_RTP_AUDIO, options=(("rtsp_transport", "tcp"), *_LIVE_MUX))
_RTP = OutputFormat("rtp_mpegts", audio="aac", audio_codecs=_AAC_MP3 | {"mp2", "ac3"}, options=_LIVE_MUX)
_MKV = OutputFormat("matroska", negative=False, audio="aac", options=_LIVE_MUX)
# fragments while it grows, a plain file in the end: what was recorded plays after a power cut
_MP4 = OutputFormat("mp4", audio="aac", options=(("movflags", "hybrid_fragmented"), *_LIVE_MUX))
_NUT = OutputFormat("nut", tags=False, audio="aac", options=_LIVE_MUX)
# browsers play AAC beside H.264; files that are gone from the list are deleted one target duration later
_HLS = OutputFormat("hls", audio="aac", audio_codecs=frozenset({"aac"}), options=_LIVE_MUX)
_HLS_FLAGS = "delete_segments+independent_segments+program_date_time+temp_file"

OUTPUTS = {"rtsp": _RTSP, "rtsps": _RTSP, "rtmp": _FLV, "rtmps": _FLV, "srt": _TS, "udp": _TS, "tcp": _TS, "rtp": _RTP}
_LIVE_FORMS = {MPEGTS.muxer: _TS, MATROSKA.muxer: _MKV, MP4.muxer: _MP4, NUT.muxer: _NUT}
_HLS_ENDING = ".m3u8"
_HLS_SEGMENT_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a live stream goes."""

    url: str
    format: OutputFormat
    cut_s: float | None = None  # seconds of each file, where `url` is a pattern for several

    @property
    def is_network(self) -> bool:
        """Whether it can be lost and found again, as a file or a pipe cannot."""
        return scheme_of(self.url) is not None

    @property
    def folder(self) -> Path:
        """Of a recording that is cut: the last folder above it whose name is known; those named by the time are made when it has come."""
        folder = Path(self.url).parent
        while "%" in str(folder):
            folder = folder.parent
        return folder

    def make_folder(self) -> None:
        """The folder of a recording that is cut is made. Raises SinkError."""
        if self.cut_s is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SinkError(f"{self.url}: the folder {self.folder} cannot be made: {error.strerror}.") from error

    @property
    def is_file(self) -> bool:
        """Whether it is made of plain files, and not a pipe or a device."""
        return not self.is_network and self.url != "-" and (not Path(self.url).exists() or Path(self.url).is_file())

    @property
    def path(self) -> str:
        """What is written to; another than `url` where that is a name for what is complete."""
        if self.is_network or self.cut_s is not None or self.format.muxer == _HLS.muxer:
            return self.url
        return partial_path(self.url, self.format)


def is_hls(url: str) -> bool:
    """Whether an output is an HLS folder, by its playlist's name."""
    return scheme_of(url) is None and Path(url).suffix.lower() == _HLS_ENDING


def find_target(url: str, format_name: str | None, live: LiveOptions) -> Target:
    """How to write to `url`. Raises UsageError for an unknown scheme, ending or --format."""
    scheme = scheme_of(url)
    if is_hls(url):
        if format_name is not None:
            raise UsageError(f"--format {format_name}: {url} is an HLS playlist.", hint="--hls-type fmp4 or ts is what can be chosen")
        return Target(url, replace(_HLS, options=(*_HLS.options, *_hls_options(url, live))))
    if scheme is None or scheme == "file":
        url = url.partition("://")[2] if scheme else url
        plain = find_format(url, format_name)
        form = _LIVE_FORMS.get(plain.muxer, plain)
        if live.segment_s is not None:
            _check_pattern(url, form, live.segment_s)
            # each file begins at its own 0, so the muxer must not keep the times
            kept = (pair for pair in form.options if pair[0] != "mpegts_copyts")
            form = replace(form, options=(*kept, ("avoid_negative_ts", "make_zero")))
        return Target(url, form, live.segment_s)
    if scheme not in OUTPUTS:
        raise UsageError(f"{redact(url)}: cannot send to scheme {scheme!r}.", hint=f"known: {', '.join(OUTPUTS)}, files and - for stdout")
    if not re.match(r"[^/]+://[^/]", url):
        raise UsageError(f"{redact(url)} names no host.", hint=f"such as {scheme}://192.168.1.20/stream")
    if scheme == "srt":
        parse_srt(url)
    if live.segment_s is not None:
        raise UsageError(f"--segment-time cuts files, and {redact(url)} is none.", hint="leave it out")
    form = OUTPUTS[scheme]
    if format_name is not None and find_format(url, format_name).muxer != form.muxer:
        raise UsageError(f"--format {format_name}: {scheme} carries {form.muxer}.", hint="leave --format out")
    return Target(url, form)


def check_target(target: Target, options: SinkOptions, *, source_url: str) -> None:
    """Find out before any work whether it can be encoded, and a file or folder written. Raises SinkError or UsageError."""
    check_encoder(options, target.format)
    if target.is_network:
        return
    if target.format.muxer == _HLS.muxer:
        _check_folder(Path(target.url).parent, target.url)
        if Path(target.url).exists() and not options.overwrite:
            raise SinkError(f"{target.url} exists.", hint="--overwrite replaces it and its segments")
        return
    if target.cut_s is None:
        check_output(target.url, options, source_url=source_url)
        return
    there = next(folder for folder in target.folder.absolute().parents if folder.exists()) if not target.folder.exists() else target.folder
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise SinkError(f"{target.url}: no permission to write in {there}.")


def _check_folder(folder: Path, url: str) -> None:
    if not folder.is_dir():
        raise SinkError(f"{url}: the folder {folder} does not exist.", hint=f"mkdir -p {folder}")


def _check_pattern(url: str, form: OutputFormat, segment_s: float) -> None:
    if url == "-" or form.images:
        raise UsageError(f"--segment-time cuts video files, and {url} is none.", hint="such as cam-%Y%m%d-%H%M%S.mp4")
    now = time.time()
    if name_file(url, 0, now) == name_file(url, 1, now + segment_s):
        raise UsageError(f"{url}: all files of --segment-time would have the same name.",
                         hint="put the time or a number into it, such as cam-%Y%m%d-%H%M%S.mp4 or cam-%05d.mp4")  # fmt: skip


def _hls_options(url: str, live: LiveOptions) -> tuple[tuple[str, str], ...]:
    path = Path(url)
    if "%" in str(path):
        raise UsageError(f"{url}: a playlist's name has no per cent sign.")
    ending = "m4s" if live.hls_type == "fmp4" else "ts"
    return (
        ("hls_time", str(live.segment_s or _HLS_SEGMENT_S)), ("hls_list_size", str(live.hls_segments)), ("hls_flags", _HLS_FLAGS),
        ("hls_segment_type", "fmp4" if live.hls_type == "fmp4" else "mpegts"), ("hls_fmp4_init_filename", f"{path.stem}-init.mp4"),
        # numbers that only grow, over restarts too: a player that still has the old list never gets a new segment for an old one
        ("hls_start_number_source", "epoch"), ("hls_segment_filename", str(path.with_name(f"{path.stem}-%d.{ending}"))),
    )  # fmt: skip
