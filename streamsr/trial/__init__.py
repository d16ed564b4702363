"""Trial: a few moments of a video, made with any settings before the whole run, on a page or a sheet."""
