"""Evaluation: networks beside resizers, by every measure, on pictures and clips."""
