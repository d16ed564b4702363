"""How close a result is to its original: Efficient-PBAN, PSNR, SSIM and VMAF, frame by frame."""

from .comparison import Comparison, FrameScores, compare
from .picture_folders import compare_folders

__all__ = ["Comparison", "FrameScores", "compare", "compare_folders"]
