"""Identity: what has to be the same for a job to go on, as text that can be compared and shown."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import av

from .._version import __version__
from ..io.remote import hide_secrets, open_file, read_facts
from ..options import SinkOptions
from ..upscaling.upscaler import Upscaler
from .job_spec import Spec

_SAMPLE, _NUM_SAMPLES = 1 << 16, 64  # bytes, and how many pieces of a file are looked at
_NUM_REMOTE = 8  # the same of a file behind a URL, where each piece is a request


def describe_job(spec: Spec, upscaler: Upscaler, options: SinkOptions) -> dict[str, str]:
    """Name and value of everything that decides the output's bytes, apart from the machine."""
    source, encode, upscale = spec.source, spec.encode, spec.upscale
    return {
        **describe_input(spec.url),
        "--scale": f"{upscale.scale:g}",
        "--size": str(upscale.size),
        "--model": " ".join([upscale.model, *(model.sha256 or sample_file(model.path) for model in upscaler.specs)]),
        "--look": upscale.look,
        "--strength": "" if upscale.strength is None else f"{upscale.strength:.3f}",
        "damage of the source": "" if upscale.damage is None else f"{upscale.damage:.3f}",
        "--engine": upscaler.engine,
        "--device": ",".join(spec.devices),
        "--precision": upscale.precision,
        "--deinterlace": source.deinterlace,
        "--crop": str(source.crop),
        "--start": str(source.start_s),
        "--end": str(source.end_s),
        "--max-errors": str(source.max_errors),
        "--input-format": str(source.input_format),
        "--encoder": encode.encoder,
        "--crf": str(encode.crf),
        "--preset": str(encode.preset),
        "--pix-fmt": str(encode.pix_fmt),
        "--encoder-option": json.dumps(dict(encode.options or {}), sort_keys=True),
        "--realtime": str(encode.realtime),
        "--format": str(options.format),
        "place of the segments": spec.folder,
        "streamsr": __version__,
        "PyAV": av.__version__,
        **({"--batch": str(upscale.batch)} if upscale.batch > 1 else {}),
        **({"encoders of the GPU": " ".join(f"{name}:{bits}" for name, bits in encode.nvenc)} if encode.nvenc else {}),
    }


def describe_input(url: str) -> dict[str, str]:
    """Name and value of what tells one input from another. Raises SourceError, OSError."""
    if "://" not in url:
        path = Path(url)
        facts = path.stat()
        words = str(path.resolve()), f"{facts.st_size} bytes", f"{facts.st_mtime_ns}", sample_file(path)
    else:
        size, version = read_facts(url) or (0, "")
        with open_file(url, ahead=False) as file:
            words = hide_secrets(url), f"{size} bytes", version, _sample(file, num_samples=_NUM_REMOTE)
    return dict(zip(("input", "size of the input", "time of the input", "content of the input"), words, strict=True))


def find_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A message for each difference."""
    changes = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name in ("time of the input", "content of the input"):
            changes.append(f"the {name} has changed")
        else:
            changes.append(f"{name} was {old}, is {new}")
    return changes


def sample_file(path: Path) -> str:
    """A checksum of pieces spread over a file, first and last included; of all of it where it is small."""
    with path.open("rb") as file:
        return _sample(file, num_samples=_NUM_SAMPLES)


def _sample(file: BinaryIO, *, num_samples: int) -> str:
    checksum = hashlib.blake2b(digest_size=16)
    size = file.seek(0, os.SEEK_END)
    last = max(0, size - _SAMPLE)
    for number in range(num_samples):
        file.seek(last * number // (num_samples - 1))
        checksum.update(file.read(_SAMPLE))
    return checksum.hexdigest()
