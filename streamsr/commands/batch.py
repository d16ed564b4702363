"""What `streamsr run` does with several inputs or a folder: one after another with one engine, and a list of failures at the end."""

from __future__ import annotations

import argparse
import logging
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report_file import write_report

if TYPE_CHECKING:
    from ..errors import StreamsrError
    from ..jobs.batch_items import Item
    from ..options import RunOptions, UpscaleOptions
    from ..pipeline import Report
    from ..upscaling.upscaler import Upscaler

Upscale = Callable[..., "Report"]  # commands.run.upscale

_log = logging.getLogger("streamsr.commands.batch")

_BUGS = (MemoryError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class _Engines:
    """One Upscaler for all videos; only --realtime may choose another model on the way."""

    def __init__(self) -> None:
        self.upscaler: Upscaler | None = None
        self._choice: UpscaleOptions | None = None

    def open(self, options: UpscaleOptions) -> Upscaler:
        from ..device.device_selection import find_devices
        from ..device.upscaler_factory import open_upscaler

        if self.upscaler is None or self._choice != options:
            self.close()
            self.upscaler = open_upscaler(replace(options, device=find_devices(options)[0], size=None))
            self._choice = options
        return self.upscaler

    def close(self) -> None:
        if self.upscaler is not None:
            self.upscaler.close()
            self.upscaler = None


def main(options: argparse.Namespace, settings: RunOptions, stop: threading.Event, upscale: Upscale) -> int:
    """Upscale all of them. The exit code is that of the first failure."""
    from ..errors import Interrupted, SourceError, StreamsrError
    from ..jobs.batch_items import find_items

    batch = find_items(options.inputs, options.output, recursive=options.recursive, format_name=settings.sink.format)
    if batch.num_folders:
        _log.warning("%d subfolders skipped; --recursive includes them", batch.num_folders)
    if batch.num_pictures:
        _log.warning("%d pictures beside the videos skipped; name them to upscale them", batch.num_pictures)
    if not batch.items:
        raise SourceError(f"There is no video or picture in {', '.join(options.inputs)} ({batch.num_others} other files).")
    reports: list[Report] = []
    finished: list[Item] = []
    failures: list[tuple[Item, StreamsrError]] = []
    interrupted: Interrupted | None = None
    engines = _Engines()
    with ExitStack() as closing:
        if settings.job.cluster is not None:
            from ..jobs.ray_connection import connected

            closing.enter_context(connected(settings.job.cluster))  # once for all of them
        closing.callback(engines.close)
        for number, item in enumerate(batch.items, 1):
            title = f"{number}/{len(batch.items)} {Path(item.source).name}"
            try:
                if _is_finished(item, settings, engines):
                    finished.append(item)
                    _log.info("%s", f"{title}: {item.target} already exists")
                    continue
                Path(item.target).parent.mkdir(parents=True, exist_ok=True)
                reports.append(upscale(item.source, item.target, settings, stop, quiet=options.quiet, title=title, engines=engines.open))
            except Interrupted as error:
                words = f"at {item.source}, {number} of {len(batch.items)}; {len(reports) + len(finished)} are done"
                hint = "; ".join([*([error.hint] if error.hint else []), "the same command goes on with the rest"])
                interrupted = Interrupted(f"Interrupted {words}.", hint=hint)
                break
            except StreamsrError as error:
                failures.append((item, error))
                _log.error("%s: failed: %s", title, error.message)
            except _BUGS as error:
                failures.append((item, _as_bug(error, debug=options.debug)))
                _log.error("%s: failed: %s", title, failures[-1][1].message)
            except OSError as error:
                failures.append((item, _as_sink_error(item, error)))
                _log.error("%s: failed: %s", title, error.strerror)
    words = f"batch of {len(batch.items)}: {len(reports)} done, {len(finished)} done before, {len(failures)} failed"
    words += f", {len(batch.items) - len(reports) - len(finished) - len(failures)} left" if interrupted else ""
    _log.info("%s", words + (f"; {batch.num_others} other files left out" if batch.num_others else ""))
    for item, failure in failures:
        _log.error("failed: %s: %s", item.source, failure)
    if options.report is not None:
        facts: dict[str, Any] = {
            "done": [report.as_dict() for report in reports],
            "done_before": [item.target for item in finished],
            "failures": [{"input": item.source, "output": item.target, "message": failure.message, "hint": failure.hint,
                          "exit_code": failure.exit_code} for item, failure in failures],
            "num_others": batch.num_others,
            "interrupted": interrupted is not None,
        }  # fmt: skip
        write_report(options.report, facts)
    if interrupted is not None:
        raise interrupted
    return failures[0][1].exit_code if failures else 0


def _is_finished(item: Item, settings: RunOptions, engines: _Engines) -> bool:
    """Whether a result is there. Raises SinkError where its name is taken by something else."""
    from ..errors import SinkError
    from ..io.source import open_source
    from ..jobs.batch_items import find_fault
    from ..jobs.job_folder import clear_finished
    from ..pipeline import fit_size

    if settings.sink.overwrite or not Path(item.target).exists():
        return False
    clear_finished(item.target, settings.job.work_folder)
    with open_source(item.source, settings.source) as opened:
        upscaler, box = engines.upscaler or engines.open(settings.upscale), settings.upscale.size
        upscaler.turn_to(settings.upscale.scale, size=None if box is None else fit_size(opened, box))
        tags = opened.tags
        fault = find_fault(opened, item.target, upscaler.output_size(tags.width, tags.height, tags.pix_fmt))
    if fault is not None:
        raise SinkError(f"{item.target} exists, but is not the result of {item.source}: {fault}.", hint="--overwrite replaces it")
    return True


def _as_bug(error: Exception, *, debug: bool) -> StreamsrError:
    """An error that nobody has foreseen, which ends one video and not those behind it."""
    from ..errors import StreamsrError

    if debug:
        _log.error("%s", "".join(traceback.format_exception(error)))
    words = f"This is a bug in streamsr: {type(error).__name__}: {error}."
    return StreamsrError(words, hint="please report it with what the same command says with --debug")


def _as_sink_error(item: Item, error: OSError) -> StreamsrError:
    from ..errors import SinkError

    return SinkError(f"{item.target}: {error.strerror}.")
