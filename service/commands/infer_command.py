"""`segmif infer`: two folders of pairs, two recordings, or a list of such."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import get_args

from segmif import folders
from segmif.addresses import masked
from segmif.cli import NotInstalled
from segmif.files import shown, words_of
from segmif.interrupts import end_in_order

from ..live.sinks.sink_error import SinkError
from ..pipeline.decoder.pool import open_decoder
from ..pipeline.pair_jobs import NetworkHere
from ..pipeline.pair_rules import PairRules
from ..scheduler.dispatcher import BOTH_CORRECT
from ..scheduler.model_loading import LoadedModel, hangs, load_model, too_slow
from ..schemas.pair_options import Policy
from ..server.process_limits import limit_threads
from ..settings import Settings
from .folder_pairs import FolderWork, Workshop, process_pairs, process_stream
from .infer import Process, infer_folders
from .infer_report import Summary
from .on_ray.arguments import add_ray_arguments
from .on_ray.fleet import Fleet, open_fleet
from .recordings.command import (
    COLUMNS,
    add_recording_arguments,
    infer_each,
    infer_one,
    read_list,
    stated_for_recordings,
)
from .recordings.open_recording import BAG, NO_OUTPUTS, VIDEOS, RecordingOptions, settings_of
from .recordings.run_record import Facts


def add_infer_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif infer` besides those of the network."""
    for name, text in (
        ("visible", "colour frames: a folder, or a recording"),
        ("infrared", "thermal frames, likewise; those of folders are paired by name"),
        ("out", "folder, or FILE.mp4, FILE.mkv or FILE.mcap"),
    ):
        parser.add_argument(f"--{name}", metavar="SRC" if name != "out" else "OUT", help=text)
    parser.add_argument(
        "--refine", action="store_true", help="mend what misalignment the pairs themselves show"
    )
    parser.add_argument(
        "--objects", action="store_true", help="list the objects of each mask in the report"
    )
    parser.add_argument(
        "--degraded", choices=get_args(Policy), help="what becomes of pairs with a fault (flag)"
    )
    folders.add_arguments(parser)
    parser.add_argument(
        "--recording",
        action="store_true",
        help="folders: the pairs follow one another; flag frozen frames, smooth the gain",
    )
    add_ray_arguments(
        parser,
        "many networks on Ray, that of RAY_ADDRESS or of this machine; goes on if it was stopped",
    )
    add_recording_arguments(parser)


def check_infer(options: argparse.Namespace) -> None:
    """Raise ValueError for flags that do not go together."""
    stated = [name for name in COLUMNS if getattr(options, name)]
    if options.list and stated:
        raise ValueError(f"--list names all recordings: leave out --{stated[0]}")
    if not options.list and len(stated) < len(COLUMNS):
        raise ValueError("segmif infer needs --visible, --infrared and --out, or --list")
    if options.refine and options.registration:
        raise ValueError(BOTH_CORRECT)


def infer(options: argparse.Namespace, settings: Settings) -> int:
    """
    Process what the flags name and print a summary; gives the exit code.

    0: all pairs are done, 1: some failed or were refused, 2: nothing could be begun.
    """
    with ExitStack() as opened:
        try:
            model, fleet = opened.enter_context(_workers(options, settings))
        except TimeoutError as error:
            print(error, file=sys.stderr)
            return 1
        except (OSError, ValueError, NotInstalled) as error:  # ours are among them
            print(masked(words_of(error)), file=sys.stderr)
            return 2
        end_in_order()
        return _infer(options, model, fleet)


@contextmanager
def _workers(
    options: argparse.Namespace, settings: Settings
) -> Iterator[tuple[LoadedModel, Fleet | None]]:
    """The network here, or many of them on Ray; raises TimeoutError if it hangs."""
    if options.ray:
        with open_fleet(settings, options.replicas) as (model, fleet):
            yield model, fleet
        return
    model = load_model(settings)
    limit_threads()
    if hangs(model.runtime, settings.self_test_s):
        raise TimeoutError(too_slow(settings.self_test_s))
    try:
        yield model, None
    finally:
        model.close()


def _infer(options: argparse.Namespace, model: LoadedModel, fleet: Fleet | None) -> int:
    try:
        if options.list:
            rows = read_list(options.list)
            return 0 if infer_each(rows, partial(_infer_row, options, model, fleet)) else 1
        summary = infer_pair(options, model, fleet)
    except (OSError, ValueError, SinkError) as error:
        print(masked(words_of(error)), file=sys.stderr)
        return 2
    print(*summary.lines(), sep="\n")
    return 0 if summary.whole else 1


def _infer_row(
    options: argparse.Namespace,
    model: LoadedModel,
    fleet: Fleet | None,
    row: argparse.Namespace,
) -> Summary:
    return infer_pair(argparse.Namespace(**(vars(options) | vars(row))), model, fleet)


def infer_pair(
    options: argparse.Namespace, model: LoadedModel, fleet: Fleet | None = None
) -> Summary:
    """
    Process two folders or two recordings, by a fleet if there is one.

    Raises ValueError, SinkError or OSError.
    """
    out, how = output_path(options.out), folders.pairing_of(options)
    rules = PairRules.of(model.settings, model.rig_aligner)
    if not _are_folders(options, out):
        if given := _stated_for_folders(options):
            raise ValueError(f"{given} is for two folders, and recordings are paired by time")
        return infer_one(options, out, model.runtime, rules, fleet)
    settings = model.settings
    decoder = open_decoder(settings.decode_processes, settings.decode_limit_s)
    try:
        shop = Workshop(model.runtime, rules, decoder)
        return infer_folders(
            *(Path(options.visible), Path(options.infrared), out),
            _process(options, out, shop, fleet),
            how=how,
            go_on=not options.overwrite,
            settings=_decisive(options, out, shop) if fleet else None,
        )
    finally:
        decoder.close()


def _process(
    options: argparse.Namespace, out: Path, shop: Workshop, fleet: Fleet | None
) -> Process:
    """What two folders are processed by."""
    work = FolderWork(out, options.refine, options.objects)
    if options.recording:
        network = fleet or NetworkHere(shop.runtime)
        return lambda pairs, kept: process_stream(pairs, work, shop, network, kept)
    if fleet:
        return lambda pairs, kept: fleet.process(pairs[kept:], work)
    return lambda pairs, kept: process_pairs(pairs[kept:], work, shop)


def _decisive(options: argparse.Namespace, out: Path, shop: Workshop) -> Facts:
    """What decides on the results of two folders, besides their files."""
    chosen = RecordingOptions(frames=True, refine=options.refine, objects=options.objects)
    facts = settings_of(out, chosen, shop.runtime, shop.rules)
    return {**facts, "recording": options.recording}


def output_path(word: str) -> Path:
    """The path of --out, a suffix in small letters; ValueError for a file that is none of ours."""
    path = Path(word)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in NO_OUTPUTS:
        return path
    if suffix not in (*VIDEOS, BAG):
        raise ValueError(
            f"--out {shown(word)}: expected FILE{VIDEOS[0]}, FILE{VIDEOS[1]}, FILE{BAG} or a folder"
        )
    return path.with_suffix(suffix)


def _are_folders(options: argparse.Namespace, out: Path) -> bool:
    """Whether two folders of frames are to become folders of pictures, paired by name."""
    if out.suffix in (*VIDEOS, BAG) or stated_for_recordings(options):
        return False
    given = [Path(options.visible), Path(options.infrared)]
    return all(path.is_dir() and not (path / "metadata.yaml").is_file() for path in given)


def _stated_for_folders(options: argparse.Namespace) -> str | None:
    stated = {
        "--pairs": options.pairs,
        "--patterns": tuple(options.patterns) != (folders.EVERY, folders.EVERY),
        "--recording": options.recording,
    }
    return next((name for name, value in stated.items() if value), None)
