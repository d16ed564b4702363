"""Opening an input: how to read it, and clear errors if it cannot be read."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import av
import av.error

from ..errors import SourceError
from ..options import SourceOptions
from .containers import is_pattern
from .names import for_ffmpeg, is_url, plain_name
from .remote import is_store, open_file
from .webp_animation import decode_webp, is_animated_webp

_FIRST_NUMBERS = 4  # where FFmpeg looks for the first picture: 0 to this
_links: list[tempfile.TemporaryDirectory[str]] = []
_FAR = 32  # packets with times in a row: no codec reorders by more than 16


class BinaryFile(Protocol):
    """What PyAV reads from."""

    def read(self, size: int, /) -> bytes: ...


def open_input(
    url: str, options: SourceOptions, *, protocol: Mapping[str, str] | None = None, file: BinaryFile | None = None
) -> av.container.InputContainer:
    """Open a path, an image pattern, a URL or "-" for demuxing. Raises SourceError with FFmpeg's message.

    protocol: FFmpeg's options for the URL. file: what to read from instead, where FFmpeg does not know the protocol.
    """
    url = plain_name(url)
    if is_pattern(url) and not is_url(url) and not os.path.exists(url):
        url = numbered_pattern(url)
    is_images = _is_images(url)
    if url != "-" and not is_url(url) and not is_images:
        _check_file(url)
        if options.input_format is None and os.path.isfile(url) and is_animated_webp(url):
            url = decode_webp(url)
    if url == "-" and sys.stdin is not None and sys.stdin.isatty():
        raise SourceError("The input is -, but stdin is a terminal.", hint="pipe a video into streamsr")
    try:
        return av.open(
            file or ("pipe:0" if url == "-" else open_file(url) if is_store(url) else for_ffmpeg(url)),
            "r",
            format="image2" if is_images and options.input_format is None else options.input_format,
            options=_demuxer_options(url, options, protocol),
            metadata_errors="replace",
            timeout=options.timeout_s,
        )
    except av.error.ExitError as error:
        raise SourceError(f"{url}: no answer within {options.timeout_s:g} s.", hint="check the address, or raise --timeout") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise _explain(error, url, is_images=is_images) from error


def _is_images(url: str) -> bool:
    """Whether `url` is a pattern of image files. Raises SourceError for a name that the file system refuses."""
    try:
        return not Path(url).exists() and is_pattern(url)
    except OSError as error:
        raise SourceError(f"{url}: {error.strerror}.") from error


def _check_file(url: str) -> None:
    """Raises SourceError where no file with content has this name."""
    path = Path(url)
    if not path.exists():
        raise SourceError(f"{url}: no such file.", hint=f"the current folder is {Path.cwd()}")
    if path.is_dir():
        raise SourceError(f"{url} is a folder.", hint=f"for an image sequence give a pattern like {path / '%05d.png'}")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{url} is empty (0 bytes).")


def _demuxer_options(url: str, options: SourceOptions, protocol: Mapping[str, str] | None) -> dict[str, str]:
    found = dict(protocol or {})
    if protocol is None and url.startswith(("http://", "https://")):
        # FFmpeg 8.1 opens a new connection for each seek, and the first packet of an mp4 whose index is at its end gets lost there
        found["multiple_requests"] = "1"
    if options.input_size:
        found["video_size"] = f"{options.input_size[0]}x{options.input_size[1]}"
    if options.input_pix_fmt:
        found["pixel_format"] = options.input_pix_fmt
    if options.input_rate:
        found["framerate"] = str(options.input_rate)
    return found


def _explain(error: av.error.FFmpegError | ValueError, url: str, *, is_images: bool) -> SourceError:
    """What FFmpeg says, with the name."""
    if not isinstance(error, av.error.FFmpegError):
        return SourceError(f"{url}: {error}.")
    if is_images and isinstance(error, av.error.FileNotFoundError):
        return SourceError(f"{url}: no file fits this pattern.", hint=f"nothing in {Path(url).parent} matches it")
    what = "" if is_url(url) else "not a video that FFmpeg can read: "
    return SourceError(f"{url}: {what}{error.strerror or error}.")


def numbered_pattern(url: str) -> str:
    """A pattern that finds every picture of `url`, whose numbers may begin anywhere and have holes: FFmpeg stops at the first one."""
    numbers = _numbers_of(url)
    if not numbers or (numbers[0] <= _FIRST_NUMBERS and numbers[-1] - numbers[0] + 1 == len(numbers)):
        return url
    folder = tempfile.TemporaryDirectory(prefix="streamsr-")
    _links.append(folder)  # FFmpeg opens each picture when it is due; the links go when the process ends
    path = Path(url)
    for at, number in enumerate(numbers):
        os.symlink((path.parent / (path.name % number)).absolute(), Path(folder.name) / f"{at:08}{path.suffix}")
    return str(Path(folder.name) / f"%08d{path.suffix}")


def _numbers_of(url: str) -> list[int]:
    """The numbers of the pictures that an image pattern names, ascending."""
    path = Path(url)
    found = re.search(r"%0?\d*d", path.name)
    if found is None or not path.parent.is_dir():
        return []
    before, after = (re.escape(part.replace("%%", "%")) for part in (path.name[: found.start()], path.name[found.end() :]))
    matches = (re.fullmatch(f"{before}(\\d+){after}", name) for name in os.listdir(path.parent))
    numbers = {int(match[1]): match[0] for match in matches if match is not None}
    return sorted(number for number, name in numbers.items() if path.name % number == name)


def sequence_numbers(url: str, options: SourceOptions, notes: list[str]) -> list[int]:
    """The numbers of the pictures of an image sequence, ascending, empty for any other input; a note says how many of them are missing."""
    numbers = _numbers_of(url) if _is_images(url) else []
    num_missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if num_missing:
        what = "the pictures before them stay" if options.keep_gaps else "its pictures close up"
        notes.append(f"{num_missing} numbers of the sequence are missing: {what}")
    return numbers


def has_restarts(container: av.container.InputContainer) -> bool:
    """Whether the clock of such a container may start anew in the middle."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)  # type: ignore[operator]  # a plain number


def count_untimed(url: str, options: SourceOptions) -> int:
    """How many pictures come before the earliest one with a time; 0 where none has one, and where the input can be read but once."""
    num_untimed = num_timed = 0
    if url == "-" or not Path(url).is_file():
        return 0
    with open_input(url, options) as container:
        try:
            for packet in container.demux(pick_video(container, url)):
                num_untimed += packet.pts is None and packet.size > 0
                num_timed = 0 if packet.pts is None else num_timed + 1
                if num_timed > _FAR or not num_untimed:
                    break
        except av.error.FFmpegError:
            pass  # who reads the video says so
    return num_untimed if num_timed else 0


def pick_video(container: av.container.InputContainer, url: str) -> av.VideoStream:
    """The video stream to upscale: the default one, never a cover picture. Raises SourceError without one."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
        raise SourceError(f"{url} has no video stream, only: {kinds}.")
    best = next((s for s in videos if s.disposition & av.stream.Disposition.default), videos[0])
    context = best.codec_context
    if context is None:
        raise SourceError(f"{url}: FFmpeg has no decoder for its video stream.")
    if context.codec.canonical_name == "webp" and (context.width == 0 or context.height == 0):  # not a file: files are decoded by Pillow
        words = f"{url}: FFmpeg {av.ffmpeg_version_info} does not decode animated WebP."
        raise SourceError(words, hint="give it as a file, or make it a GIF or APNG first")
    if context.width == 0 or context.height == 0:
        raise SourceError(f"{url}: its {context.codec.canonical_name} video is {context.width} x {context.height}: there is no picture.")
    return best
