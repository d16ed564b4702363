"""How close a result is to its original: Efficient-PBAN, PSNR, SSIM and VMAF, frame by frame."""

from .comparison import Comparison, FrameScores, compare

__all__ = ["Comparison", "FrameScores", "compare"]
