"""The trainer's one exception: something outside the code is wrong, and the message says what to do."""


class TrainerError(Exception):
    """A wrong input (folder, recipe, checkpoint, cache). `python -m trainer` prints it and exits with 2."""
