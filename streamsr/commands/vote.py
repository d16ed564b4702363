"""streamsr vote FOLDER"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import option_table, values
from .option_table import DEFAULTS

if TYPE_CHECKING:
    from ..options import UpscaleOptions
    from ..vote.candidates import Candidates
    from ..vote.results import Results

HELP = "let people vote between pictures in a browser"
EPILOG = """examples:
  streamsr vote faces/ --of film.mkv --try 'lite' --try 'base: --model base'   # makes the pictures, then opens the vote
  streamsr vote faces/ --listen 0.0.0.0:8080 --token env:TOKEN                 # for everyone on this network
  streamsr vote faces/ --results --export votes.csv
  python -m trainer metric --opinions votes.csv --images faces/ --init-from shipped --out runs/mine

FOLDER holds CONTENT_METHOD.png (.webp, .jpg; .mp4 and .webm play in a loop) and CONTENT_original.png, to which the
metric compares. Votes are stored in FOLDER/votes.sqlite.

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures or short videos to choose between")
    parser.add_argument("--listen", type=values.endpoint, default=values.endpoint("0"), metavar="A",
                        help="serve the page on HOST:PORT (default: a free port of 127.0.0.1)")  # fmt: skip
    parser.add_argument("--token", metavar="T", help="token that voters need; env:NAME reads an environment variable")
    parser.add_argument("--with-original", action="store_true", help="include the originals as candidates")
    group = parser.add_argument_group("making the pictures")
    group.add_argument("--of", action="append", default=[], metavar="VIDEO", help="take frames of this video at half size; repeatable")
    group.add_argument("--try", action="append", default=[], metavar="[NAME:] OPTIONS", dest="tries",
                       help="settings to compare: a model, or NAME: and options of `streamsr run`; give two or more")  # fmt: skip
    group.add_argument("--at", type=values.seconds, action="append", default=[], metavar="T", help="the moments (default: three)")
    group = parser.add_argument_group("counting")
    group.add_argument("--results", action="store_true", help="print the results instead of serving the page")
    group.add_argument("--export", type=Path, metavar="FILE", help="write the votes as a table of pairs for the trainer (.csv)")
    group.add_argument("--all-voters", action="store_true", help="count careless voters too")
    group.add_argument("--no-metric", action="store_true", help="do not compute how often the metric agrees")


def main(options: argparse.Namespace) -> int:
    """Make the pictures, count votes, or serve the vote until Ctrl-C."""
    from ..errors import UsageError
    from ..vote.candidates import read_candidates

    if options.of or options.tries:
        make(options)
    candidates = read_candidates(options.folder, with_original=options.with_original)
    if options.results or options.export is not None:
        return count(options, candidates)
    try:
        from ..vote import page  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"The page needs {error.name}.", hint="pip install 'streamsr[live]'") from error
    return ask(options, candidates)


def make(options: argparse.Namespace) -> None:
    """The pictures of --of and --try."""
    from ..errors import UsageError
    from ..options import SourceOptions
    from ..trial.moments import find_moments
    from ..vote.making import make_pictures

    if not options.of or len(options.tries) < 2:
        raise UsageError("--of VIDEO needs two or more --try.", hint="--of film.mkv --try lite --try base")
    tries = dict(map(read_try, options.tries))
    if len(tries) < len(options.tries):
        raise UsageError("Two --try have the same name.", hint="--try 'a: --model lite' --try 'b: --model lite --precision f32'")
    source = SourceOptions()
    made = make_pictures(options.folder, find_moments(options.of, options.at, source), tries, source)
    print(f"{len(made)} pictures in {options.folder}", flush=True)


def read_try(text: str) -> tuple[str, UpscaleOptions]:
    """(name, options) of "base" or "soft: --model base". Raises UsageError."""
    from ..errors import UsageError

    name, colon, words = text.partition(":")
    name = name.strip()
    if not name.replace("-", "").replace(".", "").isalnum():
        raise UsageError(f"--try {text!r}: {name!r} is no name.", hint="letters, digits, . and - make one, such as 'soft: --model base'")
    parser = argparse.ArgumentParser(prog="--try", add_help=False, exit_on_error=False, allow_abbrev=False)
    for group in ("picture", "engine"):
        option_table.add_options(parser, group)
    try:
        found, unknown = parser.parse_known_args(shlex.split(words) if colon else ["--model", name])
    except (argparse.ArgumentError, ValueError) as error:
        raise UsageError(f"--try {text!r}: {error}.") from error
    if unknown:
        raise UsageError(f"--try {text!r}: {unknown[0]!r} is no option of a picture.", hint="such as --model base")
    return name, option_table.run_options(DEFAULTS | vars(found), "").upscale


def ask(options: argparse.Namespace, candidates: Candidates) -> int:
    """Serve the page until Ctrl-C."""
    from ..live.address import resolve
    from ..live.command_line import hide_arguments
    from ..live.endpoint import check_access
    from ..vote.page import serve_vote
    from ..vote.poll import Poll
    from ..vote.store import FILE, VoteStore
    from .preview import announce
    from .signals import stop_on_signals

    token = options.token
    if token is not None:
        hide_arguments(token=token)
        token = resolve(token)
    check_access(options.listen, token, option="--listen")
    stop = stop_on_signals()
    with VoteStore(options.folder / FILE) as store:
        poll = Poll(candidates, store)
        with serve_vote(options.listen, poll, title=f"{len(candidates.pairs)} pairs", token=token) as server:
            announce(server, f"vote on {len(candidates.pairs)} pairs")
            stop.wait()
        votes = store.votes()
    num_votes = sum(vote.kind == "pair" for vote in votes)
    print(f"{num_votes} votes in {options.folder / FILE}; streamsr vote {options.folder} --results counts them")
    return 0


def count(options: argparse.Namespace, candidates: Candidates) -> int:
    """Print the results, and write the table."""
    from ..errors import SourceError
    from ..vote.results import careful_votes, count_votes
    from ..vote.store import FILE, VoteStore, export_pairs

    file = options.folder / FILE
    if not file.is_file():
        raise SourceError(f"{file}: nobody has voted yet.", hint=f"streamsr vote {options.folder}")
    with VoteStore(file) as store:
        votes = store.votes()
    if options.results:
        judge = None if options.no_metric else metric_of(candidates)
        print(words(count_votes(votes, judge, everybody=options.all_voters)))
    if options.export is not None:
        originals = {content: one.path.name for content, one in candidates.originals.items() if not one.is_video}
        kept = votes if options.all_voters else careful_votes(votes)
        num_lines = export_pairs(kept, originals, options.export)
        print(f"{options.export}: {num_lines} pairs")
    return 0


def metric_of(candidates: Candidates) -> Callable[[str, str], float | None]:
    """The shipped metric's score of a picture of the folder, None if the picture cannot be scored."""
    from ..compare.pban import PbanScorer
    from ..io.pictures import to_rgb
    from ..io.source import open_source

    judge = PbanScorer()
    files = {candidate.path.name: candidate for candidate in candidates.candidates}

    def score(name: str, content: str) -> float | None:
        original = candidates.originals.get(content)
        if original is None or original.is_video or name not in files or files[name].is_video:
            return None
        pictures = []
        for path in (files[name].path, original.path):
            with open_source(path) as source:
                pictures.append(to_rgb(next(source.frames())).to_ndarray())
        if pictures[0].shape != pictures[1].shape or min(pictures[0].shape[:2]) < judge.min_side:
            return None
        return judge(pictures[0], pictures[1])

    return score


def words(results: Results) -> str:
    """The results as text."""
    lines = [f"{results.num_votes} votes"]
    if results.scores:
        width = max(6, *map(len, results.scores))
        lines.append(f"{'method':{width}s}  {'score':>7s}  {'95 % interval':>16s}  votes   (Bradley-Terry, log-odds against the average)")
        for name, score in results.scores.items():
            interval = f"{score.low:+.2f} .. {score.high:+.2f}"
            lines.append(f"{name:{width}s}  {score.value:+7.2f}  {interval:>16s}  {score.num_votes:5d}")
    if results.agreement is not None:
        lines.append(f"two voters agree in {100 * results.agreement[0]:.0f} % of {results.agreement[1]} comparisons")
    if results.predicted is not None:
        lines.append(f"Efficient-PBAN agrees with the majority in {100 * results.predicted[0]:.0f} % of {results.predicted[1]} pairs")
    for voter in results.voters:
        care = "" if voter.is_careful else "   left out: careless"
        lines.append(f"{voter.name}: {voter.num_votes} votes, {voter.num_seen} of {voter.num_traps} traps seen, {voter.num_same} of "
                     f"{voter.num_repeats} repeats the same, {voter.median_s:.1f} s a vote{care}")  # fmt: skip
    return "\n".join(lines)
