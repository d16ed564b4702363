"""Streams that come while they are upscaled: network sources and sinks, and what watches them."""
