"""A picture of the scores over time. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from ..errors import SinkError, UsageError
from ..output_file import atomic_output
from .comparison import MEASURES, Comparison

INSTALL = "pip install 'streamsr[compare]'"
LABELS = {"efficient_pban": "Efficient-PBAN", "psnr": "PSNR-Y (dB)", "ssim": "SSIM-Y", "vmaf": "VMAF", "vmaf_neg": "VMAF-NEG"}


def check_plot(file: Path) -> None:
    """Whether `save_plot` will work, before an hour of measuring. Raises UsageError."""
    try:
        from matplotlib.backends import backend_agg  # noqa: F401
    except ImportError as error:
        raise UsageError("--plot needs matplotlib.", hint=INSTALL) from error
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {file}: the name must end in .png, .svg or .pdf.")
    if not file.parent.is_dir():
        raise UsageError(f"--plot {file}: the folder {file.parent} does not exist.")


def save_plot(comparison: Comparison, file: Path) -> None:
    """One panel a measure, its mean as a dashed line. Raises SinkError when the file cannot be written."""
    check_plot(file)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    taken = [name for name in MEASURES if comparison.mean(name) is not None]
    figure = Figure(figsize=(10, 2.2 * len(taken) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(taken), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, taken, strict=True):
        points = [(frame.time_s, value) for frame in comparison.frames if (value := getattr(frame, name)) is not None]
        panel.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) < 60 else "")
        mean = comparison.mean(name)
        assert mean is not None
        panel.axhline(mean, linestyle="--", linewidth=0.8, color="gray")
        panel.set_ylabel(LABELS[name])
        panel.set_title(f"mean {mean:.4g}", loc="right", fontsize="small")
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("seconds")
    figure.suptitle(f"{Path(comparison.result).name} against {Path(comparison.original).name}", fontsize="medium")
    try:
        with atomic_output(file) as draft:
            figure.savefig(draft)
    except OSError as error:
        raise SinkError(f"Cannot write the plot {file}: {error.strerror}.") from error
