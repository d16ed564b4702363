"""Reading where chroma lies, beside threads that do something else."""

from __future__ import annotations

import subprocess
import sys

BESIDE = """
import threading
import av
import av.logging
from streamsr import siting

class Graph:
    def vpush(self, video):
        beside = threading.Thread(target=av.logging.log, args=(av.logging.WARNING, "swscaler", "of another thread"))
        beside.start()
        beside.join()
        av.logging.log(av.logging.INFO, "showinfo", "cl:left")

    def vpull(self): pass

print(siting._log_of(Graph(), None))
"""


def test_what_other_threads_log_meanwhile_is_neither_read_nor_printed() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, check=True)
    assert "cl:left" in done.stdout
    assert "another" not in done.stdout
    assert done.stderr == ""
