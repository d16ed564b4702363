"""Upscaling: frames in, larger frames out. FFmpeg resamples everything but luma; a network makes the luma."""
