"""A sheet of named places in real clips, at their own size: the source by Lanczos beside what each model makes of it.

    python benchmarks/sheet.py CLIPS --output sheet.png [--model lite base] [--look natural] [--scale 2] [--zoom 2] [--only TEXT]

CLIPS: the folder of the clips that places.csv names (--places: a table of your own: clip, time in seconds, crop in source
pixels as WIDTHxHEIGHT+LEFT+TOP, what it shows). Results are those of `streamsr run`: form and condition are found from the whole clip, as
`streamsr preview` does it. --zoom repeats pixels, nothing is smoothed. --only: rows whose clip or words contain TEXT.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamsr.io.pictures import to_rgb
from streamsr.options import Crop, SourceOptions, UpscaleOptions
from streamsr.output_file import atomic_output
from streamsr.trial.moments import Moment
from streamsr.trial.studio import Setting, Studio

PLACES = Path(__file__).with_name("places.csv")
Row = tuple[str, dict[str, np.ndarray]]  # what a place shows, and its pictures: Lanczos, then by model
GAP, LINE = 4, 18  # pixels between pictures, and of a line of words


@dataclass(frozen=True)
class Place:
    """Part of a clip's picture."""

    clip: str
    time_s: float  # from the start of the clip
    crop: Crop  # source pixels
    shows: str


def read_places(table: Path) -> list[Place]:
    """Rows of a CSV file with the columns clip, time_s, crop, shows. Raises ValueError for what cannot be read."""
    places = []
    with table.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            crop = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", row.get("crop") or "")
            if crop is None or not row.get("clip"):
                raise ValueError(f"{table}, line {number}: give clip,time_s,crop,shows with a crop such as 160x110+560+150, not {row}.")
            places.append(Place(row["clip"], float(row["time_s"]), Crop(*map(int, crop.groups())), row.get("shows") or ""))
    return places


def cut(rgb: np.ndarray, place: Place, scale: int, zoom: int) -> np.ndarray:
    """The place in a picture `scale` times the source's size, each pixel `zoom` times. Raises ValueError where it leaves the picture."""
    crop = place.crop
    bottom, right = (crop.top + crop.height) * scale, (crop.left + crop.width) * scale
    if bottom > rgb.shape[0] or right > rgb.shape[1]:
        raise ValueError(f"{place.clip}: crop {crop} leaves the source's {rgb.shape[1] // scale}x{rgb.shape[0] // scale} pixels.")
    part = rgb[crop.top * scale : bottom, crop.left * scale : right]
    return np.asarray(part.repeat(zoom, 0).repeat(zoom, 1))


def make_rows(folder: Path, places: Sequence[Place], models: Sequence[UpscaleOptions], zoom: int) -> list[Row]:
    """Raises what opening a clip raises."""
    rows = []
    with Studio([Moment(str(folder / place.clip), place.time_s) for place in places], SourceOptions()) as studio:
        for number, place in enumerate(places):
            pictures: dict[str, np.ndarray] = {}
            for options in models:
                shot = studio.shoot(number, Setting(options))
                scale = round(options.scale)
                pictures["Lanczos"] = cut(to_rgb(shot.before).to_ndarray(), place, scale, zoom)
                name = options.model if shot.model == options.model else f"{options.model}: {shot.model}"
                pictures[name] = cut(to_rgb(shot.after).to_ndarray(), place, scale, zoom)
            rows.append((f"{place.clip} {place.time_s:g} s, {place.shows}", pictures))
            print(rows[-1][0], flush=True)
    return rows


def save(rows: Sequence[Row], file: Path) -> None:
    """A row below the other, with its words above it."""
    width = max(sum(picture.shape[1] + GAP for picture in pictures.values()) for _, pictures in rows)
    height = sum(max(picture.shape[0] for picture in pictures.values()) + LINE + GAP for _, pictures in rows)
    sheet = Image.new("RGB", (width, height), (18, 20, 24))
    pen, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(12), 0
    for words, pictures in rows:
        left = 0
        for name, picture in pictures.items():
            pen.text((left + 2, top + 2), name if left else f"{words}: {name}", fill=(232, 235, 239), font=font)
            sheet.paste(Image.fromarray(picture), (left, top + LINE))
            left += picture.shape[1] + GAP
        top += max(picture.shape[0] for picture in pictures.values()) + LINE + GAP
    with atomic_output(file) as draft:
        sheet.save(draft)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--places", type=Path, default=PLACES)
    parser.add_argument("--only", default="")
    parser.add_argument("--model", nargs="+", default=["lite", "base"])
    parser.add_argument("--look", choices=("natural", "faithful"), default="natural")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), default=2)
    parser.add_argument("--zoom", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    places = [place for place in read_places(options.places) if options.only in f"{place.clip} {place.shows}"]
    missing = sorted({place.clip for place in places if not (options.clips / place.clip).is_file()})
    if missing or not places:
        what = f"has no {', '.join(missing)}" if missing else f"nothing in {options.places} contains {options.only!r}"
        parser.error(f"{options.clips}: {what}. Give another folder, --places or --only.")
    settings = {"look": options.look, "strength": options.strength, "threads": options.threads}
    models = [UpscaleOptions(model, options.scale, **settings) for model in options.model]
    save(make_rows(options.clips, places, models, options.zoom), options.output)


if __name__ == "__main__":
    main()
