"""Short moving scenes: real footage, or a camera over a photograph or a drawing, sometimes with a piece of it moving over the rest."""

import pathlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainer.data.footage import is_video, read_run
from trainer.data.photos import Plane, read_photo

SIDE = 320  # of a target, pixels; a multiple of 4 times 2, 3 and 4 is not needed: each scale cuts its own
NUM_FRAMES = 7
SHARP, SOFT = 0.5, 1.8  # factors that a photograph is resized by: smaller is sharper


def open_scene(path: pathlib.Path | None, rng: np.random.Generator) -> list[Plane]:
    """NUM_FRAMES pictures RGB uint8 (SIDE, SIDE, 3). path: a photograph or a video; None: a drawing."""
    if path is not None and is_video(path):
        return read_run(path, rng, num_frames=NUM_FRAMES, side=SIDE, rgb=True)
    still = draw_still(rng) if path is None else _resized(read_photo(path), rng)
    return move_over(still, rng)


def move_over(still: Plane, rng: np.random.Generator) -> list[Plane]:
    """A camera that stands, pans by whole target pixels, or pans and zooms by fractions of one."""
    height, width = still.shape[:2]
    room = np.array([height - SIDE, width - SIDE], np.float64)
    at = rng.uniform(0, 1, 2) * room
    speed = np.zeros(2) if rng.random() < 0.2 else rng.normal(0, 1, 2) * rng.choice([1.0, 2.0, 6.0])
    warped, zoom = rng.random() < 0.25, 1 + rng.uniform(-0.006, 0.006)
    picture = Image.fromarray(still)
    piece, piece_at, piece_speed = _piece(still, rng)
    frames = []
    for t in range(NUM_FRAMES):
        y, x = np.clip(at + speed * t, 0, room)
        if warped:
            step = zoom**t
            x, y = min(x, width - SIDE * step), min(y, height - SIDE * step)
            shape = (step, 0.0, max(x, 0.0), 0.0, step, max(y, 0.0))
            frame = np.array(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, shape, Image.Resampling.BICUBIC))
        else:
            top, left = round(y), round(x)
            frame = still[top : top + SIDE, left : left + SIDE].copy()
        if piece is not None:
            top, left = np.clip(np.rint(piece_at + piece_speed * t).astype(int), 0, SIDE - np.array(piece.shape[:2]))
            frame[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        frames.append(frame)
    return frames


def _resized(photo: Plane, rng: np.random.Generator) -> Plane:
    """At a random size: three in ten a little enlarged (soft, as most video is), the others sharper than they come."""
    height, width = photo.shape[:2]
    least = (SIDE + 40) / min(height, width)
    factor = rng.uniform(1.0, SOFT) if rng.random() < 0.3 else rng.uniform(SHARP, 1.0)
    if min(height, width) > 2000:  # large photographs are soft at their own size
        factor *= 1400 / min(height, width)
    factor = max(factor, least)
    size = (round(width * factor), round(height * factor))
    kernel = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(photo).resize(size, kernel))


def _piece(still: Plane, rng: np.random.Generator) -> tuple[Plane | None, NDArray, NDArray]:
    """A rectangle of the picture, where it starts and how it moves; None for most scenes."""
    if rng.random() < 0.7:
        return None, np.zeros(2), np.zeros(2)
    h, w = rng.integers(SIDE // 8, SIDE // 2, 2)
    y, x = int(rng.integers(still.shape[0] - h + 1)), int(rng.integers(still.shape[1] - w + 1))
    return still[y : y + h, x : x + w].copy(), rng.uniform(0, SIDE, 2), rng.normal(0, 3, 2)


def draw_still(rng: np.random.Generator) -> Plane:
    """A page of text, or a cartoon: flat and shaded shapes with outlines. RGB uint8, larger than SIDE; drawn four times as large."""
    side, fine = SIDE + 80, 4
    picture = Image.new("RGB", (side * fine, side * fine), _colour(rng))
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.5:
        _write(pen, side * fine, rng)
    else:
        _cartoon(picture, pen, side * fine, rng)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.3:
        grey = int(rng.choice([0, 16, 32, 200, 240, 255]))
        return grey, grey, grey
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _write(pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-+()[]{}!?%&/=<>"
    y, ink = 0, _colour(rng)
    while y < side:
        size = int(rng.integers(40, 160))
        font = ImageFont.load_default(size)
        words = ["".join(rng.choice(list(letters), int(rng.integers(1, 10)))) for _ in range(side // size)]
        if rng.random() < 0.2:
            pen.rectangle((0, y, side, y + size), fill=_colour(rng))
            ink = _colour(rng)
        pen.text((int(rng.integers(0, 200)), y), " ".join(words), font=font, fill=ink)
        y += int(size * rng.uniform(1.1, 1.8))


def _cartoon(picture: Image.Image, pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:  # a shaded sky
        ends = np.array([_colour(rng), _colour(rng)], np.float32)
        ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None]
        rows = ends[0] * (1 - ramp) + ends[1] * ramp
        picture.paste(Image.fromarray(np.broadcast_to(rows[:, None].astype(np.uint8), (side, 64, 3)).copy()).resize((side, side)))
    outline, thick = _colour(rng), int(rng.integers(4, 24))
    for _ in range(int(rng.integers(8, 40))):
        x, y = rng.uniform(0, side, 2)
        reach = side * rng.uniform(0.03, 0.3)
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 24))))
        radii = reach * rng.uniform(0.5, 1.0, len(angles))
        points = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
        kind = rng.random()
        if kind < 0.4:
            pen.ellipse((x - reach, y - reach * 0.7, x + reach, y + reach * 0.7), fill=_colour(rng), outline=outline, width=thick)
        elif kind < 0.8:
            pen.polygon(points, fill=_colour(rng))
            pen.line([*points, points[0]], fill=outline, width=thick, joint="curve")
        else:
            pen.line(points, fill=outline, width=thick, joint="curve")
