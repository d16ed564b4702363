"""A process that builds one plan: it can be stopped at any time, and takes nothing with it when TensorRT fails.

It reads an Order as a line of JSON and answers with lines of JSON: {"say": ...} while it
builds, {"error": ..., "hint": ...} where it could not. It ends when its stdin does, so it never outlives the program that
started it, however that ends. The plan goes into the cache, complete or not at all.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamsr.child_process import child_command
from streamsr.engines.gpus import Gpu
from streamsr.engines.succession import Say
from streamsr.errors import EngineError, Interrupted, StreamsrError
from streamsr.models import ModelSpec, StateShape

POLL_S = 0.2


@dataclass(frozen=True)
class Order:
    """What to build, as plain values."""

    model: dict[str, Any]  # what the build needs of a ModelSpec
    shape: tuple[int, int, int]
    precision: str
    gpu: dict[str, Any]

    @classmethod
    def of(cls, spec: ModelSpec, shape: tuple[int, int, int], precision: str, gpu: Gpu) -> Order:
        model = {"name": spec.name, "scale": spec.scale, "path": str(spec.path), "sha256": spec.sha256, "input": spec.input,
                 "output": spec.output, "states": [asdict(state) for state in spec.states], "has_chroma": spec.has_chroma}  # fmt: skip
        return cls(model, shape, precision, asdict(gpu))

    def spec(self) -> ModelSpec:
        states = tuple(StateShape(**state) for state in self.model["states"])
        return ModelSpec(**self.model | {"path": Path(self.model["path"]), "states": states})


def build_in_process(order: Order, *, stop: threading.Event, say: Say, command: Sequence[str] | None = None) -> None:
    """Build, and return when the plan is in the cache. Raises EngineError as the process says, Interrupted soon after `stop`."""
    # a session of its own: Ctrl-C is for the program, which then closes this
    pipe = subprocess.PIPE
    command = command or child_command("streamsr.engines.plan_process")
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    complaints: list[str] = []
    readers = [threading.Thread(target=_read, args=(process.stdout, lines.put), daemon=True),
               threading.Thread(target=_read, args=(process.stderr, complaints.append), daemon=True)]  # fmt: skip
    try:
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()
        for reader in readers:
            reader.start()
        _follow(lines, stop, say)
        code = process.wait()
    finally:
        process.kill()  # harmless where it has ended
        process.wait()
        for reader in readers:
            if reader.ident is not None:
                reader.join()
        for end in (process.stdin, process.stdout, process.stderr):
            end.close()
    if code:
        words = [line.strip() for line in complaints if line]
        raise EngineError(f"The build of a TensorRT plan ended with code {code}: {words[-1] if words else 'no reason given'}.")


def _follow(lines: queue.SimpleQueue[str | None], stop: threading.Event, say: Say) -> None:
    """Pass on what the process says, until it has said all."""
    while True:
        if stop.is_set():
            raise Interrupted("The build of a TensorRT plan was stopped; nothing was kept.")
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return
        try:
            answer = json.loads(line)
        except ValueError:
            continue  # a library that prints
        if "error" in answer:
            raise EngineError(answer["error"], hint=answer["hint"])
        say(answer["say"])


def _read(pipe: Any, put: Any) -> None:
    for line in pipe:
        put(line)
    put(None)


def main() -> int:
    """The process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes elsewhere
    order = Order(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        build(order, say=lambda words: print(json.dumps({"say": words}), file=answers))
    except StreamsrError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), file=answers)
        return error.exit_code
    return 0


def build(order: Order, *, say: Say) -> None:
    """Build into the cache, unless another process was faster."""
    from streamsr.engines.distributions import load_flavour
    from streamsr.engines.plan_builder import Wish, build_plan, building_on
    from streamsr.engines.plan_cache import PlanCache

    spec, gpu, cache = order.spec(), Gpu(**order.gpu), PlanCache()
    flavour = load_flavour(gpu.capability)
    n, height, width = order.shape
    key = Wish((n, height, width), order.precision).key(spec, flavour, gpu.name, gpu.capability)
    with cache.locked(key), building_on(gpu, flavour):
        if not cache.path(key).is_file():
            build_plan(spec, key, flavour, cache=cache, say=say)


def _end_with_stdin() -> None:
    while os.read(0, 4096):  # and not sys.stdin, whose lock would stand in the way of an orderly end
        pass
    os._exit(1)  # in the middle of whatever it does: nothing of it is to be kept


if __name__ == "__main__":
    raise SystemExit(main())
