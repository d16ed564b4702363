"""Cluster: the segments of a job as Ray tasks on many machines. Ray places them, starts them again where a node dies, and counts resources.

The journal stays with the driver; segments come back as files in the work folder, and only a Result of some kilobytes
through Ray. Note [Shipped code]: the task and the progress actor are functions within functions, which Ray sends as code,
so that a node without streamsr, or with another version, can say so; Spec and Segment travel as pickles that are opened then.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import av

from .. import errors
from .._version import __version__
from ..errors import EngineError, SinkError, StreamsrError
from .job_spec import Result, Spec
from .ray_connection import first_line
from .resources import Needs
from .segment_failures import SegmentFailures
from .segment_plan import Segment
from .segment_store import Store

_NODE_DEATHS = 5  # that one segment survives; they do not count as failures
_AHEAD = 2  # tasks in flight for each that can run: the next one waits on a node's doorstep
_POLL_S = 0.2
_LOOK_S = 2.0  # between looks at which nodes there are
_PATIENCE_S = 300.0  # without any node that could run a task: a cluster that grows may need minutes
_SEEN_S = 10.0  # until a file that a node wrote shows here; NFS keeps what it knows of a folder for a while


def list_nodes() -> list[Mapping[str, float]]:
    """The resources of each node that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class Cluster:
    """The nodes of a connected cluster as the crew of one job. Use as a context manager."""

    def __init__(self, spec: Spec, needs: Needs, input_bytes: int) -> None:
        self.spec, self.needs = spec, needs
        self.unfinished: list[Result] = []
        self.stage_s: dict[str, float] = {}
        self._job = pickle.dumps((spec, input_bytes))
        self._versions = {"streamsr": __version__, "PyAV": av.__version__}
        self._store = Store(spec.folder)
        self._failures = SegmentFailures()
        self._todo: deque[Segment] = deque()
        self._flying: dict[Any, Segment] = {}
        self._nodes: set[str] = set()  # that have made a segment
        self._looked = float("-inf")
        self._slots = 0
        self._useful = time.monotonic()  # when a node was last seen that can run a task

    @property
    def num_workers(self) -> int:
        return max(1, len(self._nodes))

    @property
    def num_retried(self) -> int:
        return self._failures.num_retried

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for task in self._flying:  # Ctrl-C or a failure: what they have is thrown away
            ray.cancel(task)
        self._flying.clear()

    def run(
        self, segments: Iterable[Segment], *, stop: threading.Event | None = None, on_frames: Callable[[int], None] | None = None
    ) -> Iterator[Result]:
        """What `Worker.run` does, on all nodes at once; results come in any order.

        Raises what a node raised, with its name, and EngineError when a segment has failed three times.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._todo = deque(segments)
        stop = stop or threading.Event()
        needs = self.needs
        make = ray.remote(_task()).options(
            num_cpus=needs.num_cpus, num_gpus=needs.num_gpus, memory=needs.memory_bytes, max_retries=_NODE_DEATHS,
            scheduling_strategy="SPREAD", name="streamsr segment",
        )  # fmt: skip
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        tally: Any = ray.remote(_tally()).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        counting: Any = None
        try:
            while (self._todo or self._flying) and not stop.is_set():
                limit = self._limit()
                while self._todo and len(self._flying) < limit:
                    segment = self._todo.popleft()
                    task = make.remote(self._job, pickle.dumps(segment), self._versions, tally, segment.number)
                    self._flying[task] = segment
                ready, _ = ray.wait(list(self._flying), num_returns=len(self._flying), timeout=_POLL_S)
                failure: StreamsrError | None = None
                for task in ready:
                    try:
                        result = self._take(self._flying.pop(task), task)
                    except StreamsrError as error:
                        failure = failure or error
                        continue
                    if result is not None:
                        yield result
                if failure is not None:
                    raise failure
                if on_frames is not None:
                    counting, count = _read_count(tally, counting, [segment.number for segment in self._flying.values()])
                    if count is not None:
                        on_frames(count)
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise EngineError(f"The cluster does not answer any more: {first_line(error)}.", hint="start it again") from error

    def _limit(self) -> int:
        """How many tasks to have in flight. Raises EngineError when no node could run one for a long time."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            nodes = list_nodes()
            self._slots = sum(self.needs.count(resources) for resources in nodes)
            if self._slots:
                self._useful = now
            elif now - self._useful > _PATIENCE_S:
                largest = max(nodes, key=lambda resources: resources.get("CPU", 0), default={})
                memory = largest.get("memory", 0) / 2**30
                found = f"the largest of {len(nodes)} has {largest.get('CPU', 0):g} CPU and {memory:.1f} GiB" if nodes else "there is none"
                raise EngineError(
                    f"For {_PATIENCE_S:.0f} s no node of the cluster had {self.needs.words()}: {found}.",
                    hint="add nodes, or make do with fewer cores by --threads",
                )
        return max(_AHEAD, _AHEAD * self._slots)

    def _take(self, segment: Segment, task: Any) -> Result | None:
        """What became of a task: a Result, or None where the segment has to be made again."""
        import ray

        try:
            node, kind, *found = ray.get(task)
        except (ray.exceptions.RayTaskError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError,
                ray.exceptions.RaySystemError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:  # fmt: skip
            self._try_again(segment, first_line(getattr(error, "cause", None) or error), None)
            return None
        if kind == "done":
            result, stage_s = pickle.loads(found[0])
            for stage, seconds in stage_s.items():
                self.stage_s[stage] = self.stage_s.get(stage, 0.0) + seconds
            self._check_seen(result, node)
            self._nodes.add(node)
            return result
        name, message, hint = found
        if kind == "failed" and name == EngineError.__name__:
            self._try_again(segment, f"{message.rstrip('.')} (on {node})", hint)
            return None
        # the input's, the disk's or the installation's fault: the next segment meets it too
        raise getattr(errors, name)(f"{message.rstrip('.')} (on {node}).", hint=hint)

    def _try_again(self, segment: Segment, cause: str, hint: str | None) -> None:
        self._failures.add(segment.number, cause, hint)
        self._todo.appendleft(segment)

    def _check_seen(self, result: Result, node: str) -> None:
        """Raises SinkError where the segment's file does not lie in the work folder as seen from here."""
        end = time.monotonic() + _SEEN_S
        while result.name is not None and self._store.size(result.name) != result.size:
            if time.monotonic() > end:
                raise SinkError(
                    f"{node} wrote segment {result.number} into its own {self.spec.folder}, which is not the one here.",
                    hint="write the output into a folder that every node sees, or give one with --work-folder",
                )
            time.sleep(_POLL_S)


def _task() -> Callable[..., tuple[Any, ...]]:
    """The task, see Note [Shipped code]. It answers (node, "done", pickle) or (node, "failed" or "refused", error, message, hint)."""

    def make(job: bytes, segment: bytes, versions: dict[str, str], tally: Any, number: int) -> tuple[Any, ...]:
        import pickle
        import socket

        import ray

        node = f"node {socket.gethostname()} at {ray.util.get_node_ip_address()}"
        same = f"install streamsr {versions['streamsr']} with PyAV {versions['PyAV']} on every node, as docs/cluster.md says"
        try:
            import av

            from streamsr._version import __version__ as installed
        except ImportError as error:
            return node, "refused", "EngineError", f"{error}", same
        here = {"streamsr": installed, "PyAV": av.__version__}
        other = [f"{name} is {here[name]} there and {version} here" for name, version in versions.items() if here[name] != version]
        if other:
            return node, "refused", "EngineError", "Versions differ: " + ", ".join(other), same
        from streamsr.errors import StreamsrError
        from streamsr.jobs.ray_node import make_segment

        spec, input_bytes = pickle.loads(job)
        try:
            done = make_segment(pickle.loads(segment), spec, input_bytes, lambda count: tally.tell.remote(number, count))
        except StreamsrError as error:
            return node, "failed", type(error).__name__, error.message, error.hint
        return node, "done", pickle.dumps(done)

    return make


def _tally() -> type:
    """The progress actor, see Note [Shipped code]."""

    class Tally:
        """Counts the frames of segments in hand."""

        def __init__(self) -> None:
            self.frames: dict[int, int] = {}

        def tell(self, number: int, num_frames: int) -> None:
            self.frames[number] = num_frames

        def count(self, numbers: Sequence[int]) -> int:
            self.frames = {number: num_frames for number, num_frames in self.frames.items() if number in numbers}
            return sum(self.frames.values())

    return Tally


def _read_count(tally: Any, counting: Any, numbers: list[int]) -> tuple[Any, int | None]:
    """(The question in flight, frames of segments in hand or None where the answer is not there yet). Never waits."""
    import ray

    if counting is None:
        return tally.count.remote(numbers), None
    ready, _ = ray.wait([counting], timeout=0)
    if not ready:
        return counting, None
    try:
        return None, ray.get(counting)
    except ray.exceptions.RayError:  # the actor starts anew: it is for the bar alone
        return None, None
