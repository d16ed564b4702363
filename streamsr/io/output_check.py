"""What can be known of an output before any work: its name, format, folder and encoder."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av

from ..errors import SinkError, UsageError
from ..frame import find_layout
from ..options import SinkOptions
from ..output_file import partial_name
from .containers import OutputFormat, find_format, is_pattern
from .encoder_choice import choose_encoder
from .tags import Tags

_ANY = Tags(0, 0, "yuv420p", Fraction(1), 2, 2, 2, 0, "unspecified", None, None, None)  # for a choice that no picture changes


def check_output(url: str, options: SinkOptions, *, source_url: str) -> None:
    """Find out before any work whether the output can be: name, format, folder, encoder. Raises SinkError or UsageError."""
    output = find_format(url, options.format)
    check_encoder(options, output)
    if url == "-":
        return
    path = Path(url)
    if not path.parent.is_dir():
        raise SinkError(f"{url}: the folder {path.parent} does not exist.", hint=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise SinkError(f"{url} is a folder.", hint=f"give a file, such as {path / 'out.mp4'}")
    if source_url != "-" and "://" not in source_url and Path(source_url).exists() and path.exists() and path.samefile(source_url):
        raise SinkError(f"{url}: the output is the input.", hint="give another name")
    partial = Path(partial_path(url, output))
    if source_url != "-" and partial.exists() and Path(source_url).exists() and partial.samefile(source_url):
        raise SinkError(f"{url} grows as {partial.name}, which is the input.", hint="give another name")
    existing = str(path.with_name(path.name % 1)) if output.images and is_pattern(url) else url
    if Path(existing).exists() and not options.overwrite and Path(existing).is_file():
        raise SinkError(f"{existing} exists.", hint="--overwrite replaces it")
    if not os.access(path.parent, os.W_OK):
        raise SinkError(f"{url}: no permission to write in {path.parent}.")


def check_encoder(options: SinkOptions, output: OutputFormat) -> None:
    """Find out before any work whether encoder and pixel format exist. Raises SinkError or UsageError."""
    if options.encode.encoder != "auto":
        choose_encoder(_ANY, output, options.encode)
    if options.encode.pix_fmt is not None and find_layout(options.encode.pix_fmt) is None:
        try:
            av.VideoFormat(options.encode.pix_fmt)
        except ValueError as error:
            raise UsageError(f"Unknown --pix-fmt {options.encode.pix_fmt!r}.", hint="for instance yuv420p or yuv420p10le") from error


def partial_path(url: str, output: OutputFormat) -> str:
    """Where the output grows: `NAME.partial.EXT`; images of a sequence and stdout have no other place."""
    if url == "-" or (output.images and is_pattern(url)):
        return url
    path = Path(url)
    if path.exists() and not path.is_file():
        return url  # a device or a named pipe cannot be renamed onto
    return str(partial_name(path))
