"""streamsr engine build | list | clear"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict

from . import values

_log = logging.getLogger("streamsr.commands.engine")

HELP = "build, list and clear TensorRT plans"
EPILOG = """examples:
  streamsr engine build --size 1920x1080
  streamsr engine build lite --scale 4 --size 1280x720 --dynamic
  streamsr engine build --size 1920x1080 --compute-capability 8.9 --compute-capability 12.0
  streamsr engine list
  streamsr engine clear --stale

Plans are kept in the folder that `streamsr engine list` names; STREAMSR_CACHE moves it (docs/engines.md).

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)

    build = verbs.add_parser("build", help="build plans now instead of during the first run", allow_abbrev=False)
    build.add_argument("model", metavar="MODEL", nargs="?", default="lite", help="see `streamsr models`, or PATH.onnx (default: lite)")
    build.add_argument("--scale", type=values.count, metavar="N", default=2, help="a trained scale (default: 2)")
    build.add_argument("--size", type=values.pixels, action="append", required=True, metavar="WxH", help="size of the input; repeatable")
    build.add_argument("--batch", type=values.count, default=1, metavar="N", help="batch size (default: 1)")
    build.add_argument("--precision", choices=["f16", "f32"], default="f16", help="default: f16")
    build.add_argument("--dynamic", action="store_true", help="also accept all smaller sizes and batches, at less speed")
    where = build.add_mutually_exclusive_group()
    where.add_argument("--device", default="auto", metavar="D", help="the GPU to build for (default: the first)")
    where.add_argument("--compute-capability", action="append", metavar="X.Y",
                       help="build for other GPUs, with TensorRT for RTX: 7.5, 8.0, 8.6, 8.9, 12.0; repeatable")  # fmt: skip

    shown = verbs.add_parser("list", help="list the cached plans", allow_abbrev=False)
    shown.add_argument("--json", action="store_true", help="print JSON")

    clear = verbs.add_parser("clear", help="delete plans", allow_abbrev=False)
    clear.add_argument("model", metavar="MODEL", nargs="?", help="only the plans of this model, such as lite or lite_x2 (default: all)")
    clear.add_argument("--stale", action="store_true", help="only plans that no installed TensorRT can run")


def main(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    verbs = {"build": _build, "list": _list, "clear": _clear}
    return verbs[options.verb](options)


def _build(options: argparse.Namespace) -> int:
    from ..engines.plan_builder import Wish
    from ..engines.plan_cache import PlanCache
    from ..engines.plans_ahead import build_ahead, find_targets
    from ..engines.tensorrt_engine import tell
    from ..models import find_model
    from ..upscaling.scale_plan import padded_shape

    spec, cache = find_model(options.model, options.scale), PlanCache()
    targets = find_targets(options.device, options.compute_capability or ())
    shapes = [padded_shape((height, width), spec.size_multiple) for width, height in options.size]
    wishes = [Wish((options.batch, *shape), options.precision, options.dynamic) for shape in shapes]
    for plan in build_ahead(spec, wishes, targets, cache=cache, say=tell):
        path = cache.path(plan.key)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB for compute capability {plan.key.capability}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from ..engines.plan_cache import PlanCache, PlanKey

    cache = PlanCache()
    entries = list(cache.entries())
    if options.json:
        rows = [{"file": str(path)} | (asdict(key) if isinstance(key, PlanKey) else {"fault": str(key)}) for path, key in entries]
        print(json.dumps({"folder": str(cache.folder), "plans": rows}, indent=2))
        return 0
    for path, key in entries:
        if not isinstance(key, PlanKey):
            print(f"{path.name}: {key}")
            continue
        n, height, width = key.usual
        size = f"{width}x{height}{f' by {n}' if n > 1 else ''}{' and smaller' if key.is_dynamic else ''}"
        megabytes = path.stat().st_size / 2**20
        print(f"{key.model:12s} {size:24s} {key.precision}  {key.flavour} {key.version}  {key.gpu} {key.capability}  {megabytes:.1f} MiB")
    _log.info("%d plans in %s", len(entries), cache.folder)
    return 0


def _clear(options: argparse.Namespace) -> int:
    from ..engines.distributions import import_flavour, installed_flavours
    from ..engines.plan_cache import PlanCache

    cache = PlanCache()
    stale = {name: import_flavour(name).version for name in installed_flavours()} if options.stale else None
    gone = cache.clear(options.model, stale=stale)
    for path in gone:
        print(path)
    _log.info("%d files deleted from %s", len(gone), cache.folder)
    return 0
