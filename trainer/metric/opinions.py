"""What people said of pictures: scores (MOS) and choices between two. One form for every data set, an adapter for each file format.

SR#MOS#HR     ISRGen-QA, QADS, RealSRQ           ATD_x2_0813x2.png#4#0813x2.png, or SR#HR#MOS
rated CSV     KADID-10k: a header that names     dist_img,ref_img,dmos,var
plain CSV     PIPAL: no header, two columns      A0001_00_00.bmp,1445.58
named MOS     TID2013: score, then name          5.51429 i01_01_1.bmp
pairs CSV     a header that names                image_a,image_b,prefer_a,prefer_b
"""

import csv
import math
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from trainer.trainer_error import TrainerError

PICTURE_COLUMNS = ("dist_img", "distorted", "image", "name")
ORIGINAL_COLUMNS = ("ref_img", "reference", "original")
SCORE_COLUMNS = ("dmos", "mos", "score")


@dataclass(frozen=True, slots=True)
class Rating:
    """A picture's mean opinion score; higher is better, on the scale of its own data set."""

    picture: str  # file name
    original: str  # file name of the reference
    score: float
    content: str  # what splits go by: the reference without its size
    scale: str = ""  # scores are compared within one scale ("x2") only


@dataclass(frozen=True, slots=True)
class Choice:
    """How many people preferred either of two pictures of one content."""

    image_a: str
    image_b: str
    prefer_a: int
    prefer_b: int
    original_a: str
    original_b: str
    content_a: str
    content_b: str

    @property
    def within(self) -> bool:
        """Whether both show the same content."""
        return self.content_a == self.content_b

    @property
    def with_original(self) -> bool:
        return self.image_a == self.original_a or self.image_b == self.original_b


@dataclass(frozen=True)
class Opinions:
    """A table of opinions. `folder` holds the pictures; None for a table without them."""

    name: str
    folder: pathlib.Path | None
    ratings: list[Rating] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)

    @property
    def contents(self) -> list[str]:
        """Sorted names of what the pictures show."""
        chosen = {c for choice in self.choices for c in (choice.content_a, choice.content_b)}
        return sorted({rating.content for rating in self.ratings} | chosen)

    @property
    def pictures(self) -> dict[str, str]:
        """Every picture, and the original it is judged against."""
        found = {rating.picture: rating.original for rating in self.ratings}
        for choice in self.choices:
            found |= {choice.image_a: choice.original_a, choice.image_b: choice.original_b}
        return found

    def path(self, name: str) -> pathlib.Path:
        assert self.folder is not None, "a table without pictures"
        return self.folder / name

    def of(self, contents: Sequence[str]) -> "Opinions":
        """The opinions on these contents alone; choices across contents need both."""
        chosen = set(contents)
        ratings = [rating for rating in self.ratings if rating.content in chosen]
        choices = [choice for choice in self.choices if {choice.content_a, choice.content_b} <= chosen]
        return Opinions(self.name, self.folder, ratings, choices)


def folds(contents: Sequence[str], count: int | None = None) -> list[tuple[list[str], list[str]]]:
    """(training, left out) contents: every content is left out once. `count` folds; by default one a content."""
    ordered = sorted(contents)
    if len(ordered) < 2:
        raise TrainerError(f"Splitting by content needs two contents; there is {len(ordered)}: {', '.join(ordered) or 'none'}.")
    number = min(count or len(ordered), len(ordered))
    parts = [ordered[i::number] for i in range(number)]
    return [([c for c in ordered if c not in part], part) for part in parts]


def read_opinions(table: pathlib.Path, images: pathlib.Path | None = None) -> Opinions:
    """Read a table, its format told by its first line.

    images: folder of the pictures; every one that the table names must be there. None: the table alone.
    Raises TrainerError naming file and line.
    """
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"Cannot read the opinions {str(table)!r}: {error}.") from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise TrainerError(f"{table}: no line in it.")
    read = _adapter(table, rows[0][1])
    opinions = Opinions(table.stem, images)
    lines_of: dict[str, int] = {}
    for number, opinion in read(table, rows):
        if isinstance(opinion, Rating):
            opinions.ratings.append(opinion)
            names = [opinion.picture, opinion.original]
        else:
            opinions.choices.append(opinion)
            names = [opinion.image_a, opinion.image_b, opinion.original_a, opinion.original_b]
        for name in names:
            lines_of.setdefault(name, number)
    if images is not None:
        _check_pictures(table, images, lines_of)
    return opinions


def _check_pictures(table: pathlib.Path, images: pathlib.Path, lines_of: dict[str, int]) -> None:
    if not images.is_dir():
        raise TrainerError(f"The picture folder {str(images)!r} of {table} does not exist.")
    missing = [(number, name) for name, number in lines_of.items() if not (images / name).is_file()]
    if missing:
        number, name = missing[0]
        told = f"{len(missing)} of {len(lines_of)} pictures are missing"
        raise TrainerError(f"{table}:{number}: {name!r} is not in {str(images)!r} ({told}).")


Rows = list[tuple[int, str]]
Adapter = Callable[[pathlib.Path, Rows], Iterator[tuple[int, Rating | Choice]]]


def _adapter(table: pathlib.Path, first: str) -> Adapter:
    header = [word.strip().lower() for word in first.split(",")]
    if first.count("#") == 2:
        return _mos_list
    if {"image_a", "image_b", "prefer_a", "prefer_b"} <= set(header):
        return _pairs
    if set(header) & set(PICTURE_COLUMNS) and set(header) & set(SCORE_COLUMNS):
        return _rated
    if re.fullmatch(r"[^,]+\.\w+\s*,\s*\S+", first):
        return _plain
    if re.fullmatch(r"\S+\s+\S+\.\w+", first):
        return _named
    raise TrainerError(
        f"{table}:1: {first[:80]!r} is no known form. Known: SR#MOS#HR; CSV with the columns image_a,image_b,prefer_a,prefer_b; "
        "CSV with dist_img,ref_img,dmos; name,score; score name."
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(table: pathlib.Path, line: int, text: str) -> float:
    if not _is_number(text):
        raise TrainerError(f"{table}:{line}: {text!r} is not a score.")
    return float(text)


def content_of(original: str) -> tuple[str, str]:
    """(content, scale) of a reference's file name: "0813x2.png" -> ("0813", "x2"), "I01.BMP" -> ("i01", "")."""
    stem = pathlib.PurePosixPath(original).stem.lower()
    found = re.fullmatch(r"(.+?)_?(x\d+)", stem)
    return (found[1], found[2]) if found else (stem, "")


def _rating(table: pathlib.Path, line: int, picture: str, score: str, original: str) -> Rating:
    if not picture or not original:
        raise TrainerError(f"{table}:{line}: a file name is empty.")
    content, scale = content_of(original)
    return Rating(picture, original, _number(table, line, score), content, scale)


def _mos_list(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, Rating]]:
    for line, text in rows:
        parts = [part.strip() for part in text.split("#")]
        if len(parts) != 3:
            raise TrainerError(f"{table}:{line}: {text[:80]!r} has {len(parts)} fields; SR#MOS#HR has three.")
        # ISRGen-QA's own test list has the last two the other way round
        score, original = parts[1:] if not _is_number(parts[2]) else reversed(parts[1:])
        yield line, _rating(table, line, parts[0], score, original)


def _columns(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with a header, by lower-case column."""
    header = [word.strip().lower() for word in next(csv.reader([rows[0][1]]))]
    for line, text in rows[1:]:
        cells = [cell.strip() for cell in next(csv.reader([text]))]
        if len(cells) != len(header):
            raise TrainerError(f"{table}:{line}: {text[:80]!r} has {len(cells)} columns; the header has {len(header)}.")
        yield line, dict(zip(header, cells, strict=True))


def _pick(row: dict[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if name in row), "")


def _rated(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, Rating]]:
    for line, row in _columns(table, rows):
        yield line, _rating(table, line, _pick(row, PICTURE_COLUMNS), _pick(row, SCORE_COLUMNS), _pick(row, ORIGINAL_COLUMNS))


def _plain(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, Rating]]:
    for line, text in rows:
        picture, _, score = (part.strip() for part in text.partition(","))
        yield line, _rating(table, line, picture, score, _original_before_underscore(picture))


def _named(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, Rating]]:
    for line, text in rows:
        parts = text.split()
        if len(parts) != 2:
            raise TrainerError(f"{table}:{line}: {text[:80]!r} has {len(parts)} words; a score and a name are two.")
        yield line, _rating(table, line, parts[1], parts[0], _original_before_underscore(parts[1]))


def _original_before_underscore(picture: str) -> str:
    """PIPAL and TID2013 name a picture after its reference: A0001_00_00.bmp -> A0001.bmp."""
    path = pathlib.PurePosixPath(picture)
    return path.stem.partition("_")[0] + path.suffix


def _pairs(table: pathlib.Path, rows: Rows) -> Iterator[tuple[int, Choice]]:
    """The reference is named in the columns original_a and original_b, or is CONTENT_original beside CONTENT_anything."""
    for line, row in _columns(table, rows):
        a, b = row["image_a"], row["image_b"]
        if not a or not b or a == b:
            raise TrainerError(f"{table}:{line}: a pair needs two pictures; these are {a!r} and {b!r}.")
        counts = []
        for name in ("prefer_a", "prefer_b"):
            if not row[name].isdigit():
                raise TrainerError(f"{table}:{line}: {name} is {row[name]!r}; it must be a number of people.")
            counts.append(int(row[name]))
        if not sum(counts):
            raise TrainerError(f"{table}:{line}: nobody was asked about {a!r} and {b!r}.")
        originals, contents = [], []
        for name, column in ((a, "original_a"), (b, "original_b")):
            path = pathlib.PurePosixPath(name)
            content = path.stem.partition("_")[0]
            original = row.get(column) or f"{content}_original{path.suffix}"
            originals.append(original)
            contents.append(content if not row.get(column) else content_of(original)[0])
        yield line, Choice(a, b, counts[0], counts[1], originals[0], originals[1], contents[0], contents[1])
