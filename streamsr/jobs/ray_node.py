"""Node: what a machine of a cluster does with one segment. It is streamsr's own code there, once versions are known to agree."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from ..errors import EngineError, SinkError, SourceError
from .job_spec import Result, Spec
from .segment_plan import Segment
from .worker import seldom, work

_TELL_S = 0.5


def make_segment(
    segment: Segment, spec: Spec, input_bytes: int, tell: Callable[[int], None]
) -> tuple[Result, dict[str, float]]:
    """Make one segment; its Result and the busy seconds by stage.

    input_bytes: how large the input is where the job was begun. tell: takes the frames done so far.
    Raises StreamsrErrors; those of files that this machine cannot see name it.
    """
    check_paths(spec, input_bytes)
    return work(segment, spec, on_frames=seldom(tell, _TELL_S))


def check_paths(spec: Spec, input_bytes: int) -> None:
    """Raises SourceError, SinkError or EngineError with the name of this machine and of the path that is not the driver's."""
    me = socket.gethostname()
    if "://" not in spec.url:
        path = Path(spec.url)
        hint = "put it where every node sees it under this path, or give a URL such as s3://bucket/film.mp4"
        if not path.is_file():
            raise SourceError(f"Node {me} does not see the input {path}.", hint=hint)
        found = path.stat().st_size
        if found != input_bytes:
            raise SourceError(f"Node {me} sees another file as {path}: {found} bytes, not {input_bytes}.", hint=hint)
    if "://" not in spec.folder:
        folder = Path(spec.folder)
        hint = "write the output into a folder that every node sees, or give one with --work-folder"
        if not folder.is_dir():
            raise SinkError(f"Node {me} does not see the work folder {folder}.", hint=hint)
        if not os.access(folder, os.W_OK):
            raise SinkError(f"Node {me} must not write into the work folder {folder}.", hint=hint)
    if spec.upscale.model.endswith(".onnx") and not Path(spec.upscale.model).is_file():
        raise EngineError(f"Node {me} does not see the model {spec.upscale.model}.", hint="put it where every node sees it under this path")
