"""The results of benchmarks/fps_gpu.py for people: a line and a bar for each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def describe(cell: dict[str, Any]) -> str:
    """One line for people."""
    parts = [f"{cell['model']} {cell['size']} x{cell['scale']}:"]
    if cell["network"]:
        parts.append(f"network {cell['network']['fps']:.0f} fps on {cell['network']['engine']},")
    if cell["pipeline"]:
        parts.append(f"pipeline {cell['pipeline']['fps']:.0f} ({cell['pipeline']['host_ms']:.2f} ms of the host,"
                     f" {cell['pipeline']['vram_bytes'] / 2**20:.0f} MiB),")  # fmt: skip
    if cell["files"]:
        files = cell["files"]
        ends = [f"{name.removeprefix('end_to_end ')} {value['fps']:.0f}" for name, value in files.items() if isinstance(value, dict)]
        parts.append(f"with decoder {files['with_decoder_fps']:.0f}, end to end {', '.join(ends)} fps,")
    if cell["latency"]:
        parts.append(f"latency {cell['latency']['p50_ms']:.1f} ms (p99 {cell['latency']['p99_ms']:.1f})")
    return " ".join(parts).rstrip(",:")


def draw(results: dict[str, Any], path: Path) -> None:
    """A bar for each cell: network, pipeline, end to end."""
    from PIL import Image, ImageDraw

    cells = results["cells"]
    names, colours = ("network", "pipeline", "with decoder", "end to end"), ("#2c3e50", "#27ae60", "#2980b9", "#c0392b")
    width, row, left = 1000, 64, 190
    image = Image.new("RGB", (width, row * max(1, len(cells)) + 60), "white")
    drawing = ImageDraw.Draw(image)

    def values(cell: dict[str, Any]) -> list[float]:
        files = cell["files"] or {}
        ends = [value["fps"] for value in files.values() if isinstance(value, dict)]
        return [(cell["network"] or {}).get("fps", 0.0), (cell["pipeline"] or {}).get("fps", 0.0),
                files.get("with_decoder_fps", 0.0), max(ends, default=0.0)]  # fmt: skip

    most = max((value for cell in cells for value in values(cell)), default=1.0) or 1.0
    for number, cell in enumerate(cells):
        top = 30 + number * row
        drawing.text((8, top + 18), f"{cell['model']} {cell['size']} x{cell['scale']}", fill="black")
        for place, (value, colour) in enumerate(zip(values(cell), colours, strict=True)):
            y = top + place * 13
            drawing.rectangle([left, y, left + value / most * (width - left - 80), y + 10], fill=colour)
            drawing.text((left + value / most * (width - left - 80) + 6, y - 1), f"{value:.0f}", fill="black")
    for place, (name, colour) in enumerate(zip(names, colours, strict=True)):
        drawing.text((left + place * 150, 8), name, fill=colour)
    image.save(path, optimize=True)
