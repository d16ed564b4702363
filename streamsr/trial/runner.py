"""Runner: makes the whole video from the page, one at a time, in a thread; reports progress; can be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import Interrupted, SinkError, StreamsrError
from ..jobs.job_folder import throw_away, work_folder
from ..output_file import partial_name
from ..pipeline import Progress

State = Literal["idle", "running", "done", "failed", "cancelled"]
Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a run, as sent to the page."""

    state: State = "idle"
    output: str = ""
    num_frames: int = 0
    expected_frames: int | None = None
    words: str = ""  # of the speed while it runs; then what came of it


class Runner:
    """Use as a context manager: its end cancels what runs. Methods may be called from any thread."""

    def __init__(self, describe: Callable[[Progress], str]) -> None:
        self._describe = describe
        self._lock = threading.Lock()
        self._standing = Standing()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        if self._thread is not None:
            self._thread.join()

    @property
    def standing(self) -> Standing:
        with self._lock:
            return self._standing

    def start(self, output: str, go: Callable[[threading.Event, Tell], str]) -> bool:
        """Begin in a thread; False where a run is under way. go: makes `output` and returns a message about the outcome."""
        with self._lock:
            if self._standing.state == "running":
                return False
            self._standing = Standing("running", output)
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(output, go, self._stop), name="streamsr-trial-run", daemon=True)
            self._thread.start()
            return True

    def cancel(self) -> None:
        """End the run that is under way, if there is one; nothing of it is kept."""
        self._stop.set()

    def _run(self, output: str, go: Callable[[threading.Event, Tell], str], stop: threading.Event) -> None:
        def tell(progress: Progress) -> None:
            with self._lock:
                self._standing = replace(
                    self._standing, num_frames=progress.num_frames, expected_frames=progress.expected_frames, words=self._describe(progress)
                )

        state: State
        try:
            words, state = go(stop, tell), "done"
        except Interrupted:
            words, state = "Cancelled; nothing of it was kept.", "cancelled"
        except StreamsrError as error:
            words, state = f"{error.message} {error.hint or ''}".rstrip(), "failed"
        except Exception as error:  # a bug must not leave the page with a run that never ends
            words, state = f"This is a bug in streamsr: {type(error).__name__}: {error}", "failed"
        if state != "done":
            try:
                throw_away(output)
            except (SinkError, OSError) as error:
                words += f" What was begun could not be deleted: {getattr(error, 'message', error)}"
        with self._lock:
            self._standing = replace(self._standing, state=state, words=words)


def free_name(path: Path) -> Path:
    """`path`, with a number behind its stem where that name is taken: by a file, or by what an unfinished run has left."""
    number, found = 1, path
    while any(place.exists() or place.is_symlink() for place in (found, partial_name(found), work_folder(str(found)))):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
