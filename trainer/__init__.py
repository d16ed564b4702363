"""Training, evaluation and export of streamsr's networks: `python -m trainer --help`."""
