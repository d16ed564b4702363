"""The README's picture: one frame, the source enlarged as a player would do it beside the network's.

    python benchmarks/picture.py [--frame 40] [--crop X,Y,W,H] [--zoom 2] [--model lite] picture.png

The source is enlarged by FFmpeg's bicubic scaler, the default of most players. X, Y, W, H are source pixels; --zoom
repeats pixels, so that they can be told apart on a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from clips import BUNNY
from PIL import Image, ImageDraw

from streamsr import Upscaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--clip", type=Path, default=BUNNY)
    parser.add_argument("--frame", type=int, default=40)
    parser.add_argument("--crop", default="370,226,110,104", help="source pixels")
    parser.add_argument("--zoom", type=int, default=2)
    parser.add_argument("--model", default="lite")
    options = parser.parse_args()
    x, y, width, height = (int(part) * 2 for part in options.crop.split(","))
    with av.open(str(options.clip)) as container:
        frame = next(frame for index, frame in enumerate(container.decode(video=0)) if index == options.frame)
    plain = frame.reformat(frame.width * 2, frame.height * 2, "rgb24", interpolation="BICUBIC").to_ndarray()
    with Upscaler(options.model, 2) as upscaler:
        better = upscaler(frame).to_ndarray(format="rgb24")
    panels = [array[y : y + height, x : x + width].repeat(options.zoom, 0).repeat(options.zoom, 1) for array in (plain, better)]
    width, height = width * options.zoom, height * options.zoom
    image = Image.fromarray(np.concatenate(panels, axis=1))
    draw = ImageDraw.Draw(image)
    for index, words in enumerate(("bicubic", f"streamsr {options.model}")):
        draw.text((index * width + 8, 6), words, fill="white", stroke_width=2, stroke_fill="black", font_size=18)
    draw.line([(width, 0), (width, height)], fill="white", width=2)
    options.output.parent.mkdir(exist_ok=True)
    image.save(options.output, optimize=True)


if __name__ == "__main__":
    main()
