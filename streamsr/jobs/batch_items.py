"""Batch: many videos or pictures into one folder. Which files are taken, what their results are called, and which are there already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, UsageError
from ..io.animation import num_plays
from ..io.containers import AVI, BY_NAME, BY_SUFFIX, IMAGE_ENCODERS, MXF, is_pattern, is_picture_name, reads_images
from ..io.input_container import open_input, pick_video
from ..io.source import Source, open_source
from ..options import SourceOptions

# what is a video by its name: one that cannot be read is then a failure, and not a file of another kind
_VIDEOS = {*BY_SUFFIX, ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2v", ".mpeg", ".mpg", ".mxf", ".ogv", ".rm", ".rmvb",
           ".vob", ".wmv"}  # fmt: skip
_FALLBACK = ".mkv"  # for endings that streamsr does not write, and for containers that hold less
_PICTURE_FALLBACK, _ANIMATION, _ANIMATIONS = ".png", ".apng", (".gif", ".apng")
_SAME_S = 1.0  # how much shorter a result may be than its source, beside a tenth: what `streamsr run` warns of


@dataclass(frozen=True, slots=True)
class Item:
    """One video of a batch."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch consists of, in order."""

    items: list[Item]
    num_others: int  # files that are no videos
    num_pictures: int  # of them, which lie beside videos
    num_folders: int  # that were not looked into


def is_batch(inputs: Sequence[str], output: str) -> bool:
    """Whether these arguments mean several videos, or a folder for the result."""
    return len(inputs) > 1 or Path(inputs[0]).is_dir() or (Path(inputs[0]).is_file() and _is_folder(output))


def find_items(inputs: Sequence[str], output: str, *, recursive: bool = False, format_name: str | None = None) -> Batch:
    """The videos or pictures that `inputs` (files and folders) name, each with its place in the folder `output`.

    Files that are named are taken as they are; of a folder, its videos are, or its pictures where there is no video, and the rest is
    counted. A result keeps its name, with the ending of `format_name`, or .mkv, .png or (animations) .apng where streamsr does not write
    the source's kind. Nothing is made or changed.
    Raises UsageError where two results would have one name, or a result the place of a source.
    """
    folder = Path(output)
    what = f"{inputs[0]} is a folder, so the output has to be one" if len(inputs) == 1 else "Several inputs need a folder as the output"
    if output == "-" or "://" in output or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{what}, not {output}.", hint="give the folder last")
    if not folder.exists() and not output.endswith(("/", os.sep)) and folder.suffix.lower() in _VIDEOS:
        hint = f"or is {output}/ meant?"
        if len(inputs) == 1:
            hint += f" for an image sequence give a pattern like {Path(inputs[0]) / '%05d.png'}"
        raise UsageError(f"{what}; {output} looks like a file.", hint=hint)
    items: list[Item] = []
    num_others = num_pictures = num_folders = 0
    for name in inputs:
        path = Path(name)
        if name == "-" or "://" in name or (is_pattern(name) and not path.exists()):
            raise UsageError(f"{name} cannot be one of several inputs: these are files and folders.", hint="give it alone")
        if not path.is_dir():
            items.append(Item(name, str(folder / _result_name(path, Path(path.name), format_name))))
            continue
        videos: list[Path] = []
        pictures: list[Path] = []
        for found in _walk(path, folder, recursive=recursive):
            if found is None:
                num_folders += 1
            elif is_picture_name(found.name) or found.suffix.lower() in _ANIMATIONS:
                pictures.append(found)
            elif is_video(found):
                videos.append(found)
            else:
                num_others += 1
        if videos:  # what lies beside them is covers
            num_others, num_pictures = num_others + len(pictures), num_pictures + len(pictures)
        items += [Item(str(found), str(folder / _result_name(found, found.relative_to(path), format_name))) for found in videos or pictures]
    _check_names(items)
    return Batch(items, num_others, num_pictures, num_folders)


def is_video(path: Path) -> bool:
    """Whether a file of a folder is one to upscale: by its ending, else by what is in it. Pictures, audio and text are not."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in _VIDEOS:
        return True
    if is_picture_name(path.name):
        return False
    try:
        with open_input(str(path), SourceOptions()) as container:
            kind = container.format.name
            pick_video(container, str(path))
    except SourceError:
        return False
    return kind != "tty" and not reads_images(kind)


def find_fault(source: Source, target: str, size: tuple[int, int]) -> str | None:
    """Why an existing file is not the finished result of `source` at `size`; None where it is, as far as a look tells.

    A result gets its name when its frame account balances, so this only tells other files apart: it has to open, show a
    picture of this size, and be as long as the source.
    """
    try:
        with open_source(target, SourceOptions(deinterlace="off")) as result:
            found, length_s = (result.tags.width, result.tags.height), result.duration_s
    except SourceError as error:
        return error.message
    if found != size:
        return f"it is {found[0]}x{found[1]}, not {size[0]}x{size[1]}"
    expected_s = source.duration_s
    if source.options.num_frames is not None:
        frames_s = float(source.options.num_frames / source.rate)
        expected_s = frames_s if expected_s is None else min(expected_s, frames_s)
    if expected_s is not None and length_s is not None and length_s < 0.9 * expected_s - _SAME_S:
        return f"it is {length_s:.1f} s long, not {expected_s:.1f} s"
    return None


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _walk(folder: Path, output: Path, *, recursive: bool) -> Iterator[Path | None]:
    """The files of a folder by name, and None for each folder in it that is left out. Work folders and the output are not looked into."""
    for at, folders, files in os.walk(folder):
        folders.sort()
        folders[:] = [name for name in folders if not name.endswith(".streamsr") and not _same(Path(at, name), output)]
        if not recursive:
            yield from [None] * len(folders)
            folders.clear()
        yield from (Path(at, name) for name in sorted(files))


def _result_name(source: Path, name: Path, format_name: str | None) -> Path:
    suffix = name.suffix.lower()
    if format_name is not None:
        form = BY_NAME.get(format_name)
        suffixes = [ending for ending, known in BY_SUFFIX.items() if known is form]
        if suffix not in suffixes and suffixes:  # an unknown --format is refused later, as for one file
            return name.with_suffix(suffixes[0])
        return name
    if is_picture_name(name.name):
        if num_plays(str(source)) is not None:
            return name.with_suffix(_ANIMATION)
        return name if suffix in IMAGE_ENCODERS else name.with_suffix(_PICTURE_FALLBACK)
    return name if suffix in BY_SUFFIX and BY_SUFFIX[suffix] not in (AVI, MXF) else name.with_suffix(_FALLBACK)


def _check_names(items: Sequence[Item]) -> None:
    taken: dict[str, Item] = {}
    for item in items:
        other = taken.setdefault(item.target.casefold(), item)  # many disks do not tell a.mp4 from A.mp4
        if other is not item:
            words = f"{other.source} and {item.source} would both become {item.target}."
            raise UsageError(words, hint="give one of them another name or folder")
        if _same(Path(item.source), Path(item.target)):
            raise UsageError(f"{item.source} would be its own result.", hint="give another folder as the output")


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)
