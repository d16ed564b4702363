"""Everything that streamsr raises for external errors. A caller's mistake is a ValueError or TypeError.

StreamsrError            exit code 1
├── UsageError           2   options that cannot be (also a ValueError)
├── SourceError          3   the input: missing, not a video, broken
├── AccountError         4   frames, timestamps or tags of input and output differ
├── EngineError          5   no such engine, model or device; inference failed
├── SinkError            6   the encoder or the output: unknown, refused, disk full
└── Interrupted        130   Ctrl-C or SIGTERM; what is done was kept
"""


class StreamsrError(Exception):
    """An error with a message for the user, a hint on the way out, and the exit code of the command line."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(StreamsrError, ValueError):
    exit_code = 2


class SourceError(StreamsrError):
    exit_code = 3


class AccountError(StreamsrError):
    exit_code = 4


class EngineError(StreamsrError):
    exit_code = 5


class SinkError(StreamsrError):
    exit_code = 6


class Interrupted(StreamsrError):  # noqa: N818 (not the program's error)
    exit_code = 130
