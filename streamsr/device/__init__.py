"""The pipeline on a device: frames are unpacked, upscaled, packed and encoded without leaving GPU memory.

Nothing here is imported where `--device` means the CPU; what is imported then is light until a device is opened.
"""
