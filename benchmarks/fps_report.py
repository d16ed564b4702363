"""The results of benchmarks/fps_gpu.py for people: a line and a bar for each cell."""

from __future__ import annotations

from html import escape
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
    """A bar for each cell: network, pipeline, end to end. An SVG, which needs no package."""
    cells = results["cells"]
    names, colours = ("network", "pipeline", "with decoder", "end to end"), ("#2c3e50", "#27ae60", "#2980b9", "#c0392b")
    width, row, left = 1000, 64, 190
    height = row * max(1, len(cells)) + 60
    shapes = [f'<rect width="{width}" height="{height}" fill="white"/>']

    def write(x: float, y: float, words: str, colour: str = "black") -> None:
        shapes.append(f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}">{escape(words)}</text>')

    def values(cell: dict[str, Any]) -> list[float]:
        files = cell["files"] or {}
        ends = [value["fps"] for value in files.values() if isinstance(value, dict)]
        return [(cell["network"] or {}).get("fps", 0.0), (cell["pipeline"] or {}).get("fps", 0.0),
                files.get("with_decoder_fps", 0.0), max(ends, default=0.0)]  # fmt: skip

    most = max((value for cell in cells for value in values(cell)), default=1.0) or 1.0
    for number, cell in enumerate(cells):
        top = 30 + number * row
        write(8, top + 28, f"{cell['model']} {cell['size']} x{cell['scale']}")
        for place, (value, colour) in enumerate(zip(values(cell), colours, strict=True)):
            y, length = top + place * 13, value / most * (width - left - 80)
            shapes.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="10" fill="{colour}"/>')
            write(left + length + 6, y + 9, f"{value:.0f}")
    for place, (name, colour) in enumerate(zip(names, colours, strict=True)):
        write(left + place * 150, 18, name, colour)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">'
    path.write_text("\n".join([head, *shapes, "</svg>"]) + "\n", encoding="utf-8")
