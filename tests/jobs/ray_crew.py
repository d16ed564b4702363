"""Jobs of a cluster, one after another in a process of its own (see ray_machines.py): a pickled list of Case in, of outcomes out.

An outcome is the numbers of the segments that were made, or (name, message) of the error.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from streamsr.errors import StreamsrError
from streamsr.io.source import open_source
from streamsr.jobs import ray_cluster
from streamsr.jobs.eligibility import make_plan
from streamsr.jobs.job_spec import Spec
from streamsr.jobs.ray_connection import connected
from streamsr.jobs.resources import Needs

NEEDS = Needs(1, 0, 100 << 20)


@dataclass(frozen=True)
class Case:
    """One job. version: what this process says it is."""

    spec: Spec
    needs: Needs = NEEDS
    input_bytes: int | None = None
    version: str = ray_cluster.__version__


def run(case: Case) -> list[int] | tuple[str, str]:
    size = Path(case.spec.url).stat().st_size if case.input_bytes is None else case.input_bytes
    with open_source(case.spec.url) as source:
        segments = make_plan(source, case.spec, 3.0, threading.Event())
    try:
        with mock.patch.object(ray_cluster, "__version__", case.version), ray_cluster.Cluster(case.spec, case.needs, size) as crew:
            return sorted(result.number for result in crew.run(segments))
    except StreamsrError as error:
        return type(error).__name__, error.message


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Ray prints goes elsewhere
    cases = pickle.load(sys.stdin.buffer)
    with mock.patch.object(ray_cluster, "_PATIENCE_S", 3.0), connected("auto"):
        pickle.dump([run(case) for case in cases], answers)
    answers.close()


if __name__ == "__main__":
    from ray_crew import main  # so that pickles know Case by the name that the tests know

    main()
