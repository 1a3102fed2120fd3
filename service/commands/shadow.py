"""`segmif shadow`: try a candidate network beside the one in service, then promote or drop it."""

import argparse
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from segmif.argument_types import FloatRange, IntegerRange, MaskingParser
from segmif.files import shown, words_of
from segmif.interrupts import end_in_order
from segmif.manifest import Manifest
from segmif.parsing import json_value, parse_toml

from ..settings.settings import DEFAULT_WEIGHTS
from .settings_file import change_settings

SERVER = "http://127.0.0.1:8000"
ANSWER_S = 10.0
PAUSE_S = 0.2  # between two looks at the service

Report = dict[str, Any]


def main(arguments: Sequence[str], prog: str) -> int:
    """Run one of the subcommands; gives the exit code: 0 done, 1 not, 2 wrong words."""
    args = parser(prog).parse_args(arguments)
    end_in_order()
    try:
        return int(args.run(args))
    except (OSError, ValueError, HTTPException) as error:
        print(f"{prog}: {words_of(error)}", file=sys.stderr)
        return 1


def parser(prog: str) -> argparse.ArgumentParser:
    """Describe the command line."""
    asking = MaskingParser(add_help=False)
    asking.add_argument(
        "--server", default=SERVER, metavar="URL", help=f"of the service ({SERVER})"
    )
    asking.add_argument(
        "--ca-file", type=Path, metavar="PEM", help="whom to trust with https://, besides all"
    )
    changing = MaskingParser(add_help=False, parents=[asking])
    changing.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="settings file of the service, which is changed",
    )
    changing.add_argument(
        "--pid",
        type=IntegerRange(2),
        help="of the service: reload it and wait for what becomes of that",
    )
    changing.add_argument(
        "--wait", type=FloatRange(0, 3600), default=60, metavar="SECONDS", help="so long (60)"
    )
    top = MaskingParser(prog=prog, description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    begin = commands.add_parser("start", parents=[changing], help="show pairs to a candidate too")
    begin.add_argument("weights", type=Path, metavar="FILE", help=".onnx or .engine")
    begin.add_argument(
        "--share", type=FloatRange(0, 1), default=0.1, metavar="0..1", help="of the pairs (0.1)"
    )
    begin.set_defaults(run=start)
    shows = commands.add_parser("report", parents=[asking], help="where the two differ")
    shows.add_argument("--json", action="store_true", help="print all that GET /shadow says")
    shows.set_defaults(run=print_report)
    for name, run, said in (
        ("promote", promote, "let the candidate answer from now on"),
        ("drop", drop, "end the phase; the network in service stays"),
    ):
        commands.add_parser(name, parents=[changing], help=said).set_defaults(run=run)
    return top


def start(args: argparse.Namespace) -> int:
    """Name the candidate in the settings file."""
    digest = Manifest.read(args.weights).sha256
    path = str(args.weights.resolve())
    change_settings(args.config, {"shadow_weights": path, "shadow_share": args.share})
    print(f"{shown(args.config)}: {shown(args.weights)} is to see {args.share:g} of the pairs")

    def done(found: Report) -> bool:
        if found["state"] == "refused":
            raise ValueError(f"the service refuses the candidate: {found['refused']}")
        return found["candidate"] is not None and found["candidate"]["weights_sha256"] == digest

    return reload(args, done)


def promote(args: argparse.Namespace) -> int:
    """Make the candidate of the settings file its weights."""
    stated = parse_toml(args.config)
    candidate = stated.get("shadow_weights")
    if candidate is None:
        return finish_promotion(args, Path(stated.get("weights", DEFAULT_WEIGHTS)))
    if "reference" in stated:
        raise ValueError(
            f"{shown(args.config)} has a reference, which the candidate would have to agree with: "
            "set weights and reference to the new network, and reload"
        )
    digest = Manifest.read(Path(candidate)).sha256
    values = {"weights": str(candidate), "shadow_weights": None, "shadow_share": None}
    change_settings(args.config, values)
    before = stated.get("weights", str(DEFAULT_WEIGHTS))
    print(f"{shown(args.config)}: weights is {candidate}; it was {before}")
    return reload(args, lambda found: bool(found["serving"]["weights_sha256"] == digest))


def finish_promotion(args: argparse.Namespace, weights: Path) -> int:
    """
    Reload a service whose candidate is what the settings file has as its `weights` already.

    So does a promotion leave it that was killed before the reload. Raises ValueError for any other.
    """
    none = f"{shown(args.config)} names no candidate: `segmif shadow start` does"
    if args.pid is None:
        raise ValueError(none)
    digest, found = Manifest.read(weights).sha256, ask(args)
    if found["candidate"] and found["candidate"]["weights_sha256"] == digest:
        print(f"{shown(args.config)}: weights is {shown(weights)} already")
        return reload(args, lambda found: bool(found["serving"]["weights_sha256"] == digest))
    if found["serving"]["weights_sha256"] == digest:
        raise ValueError(f"{none}. Its weights, {shown(weights)}, are in service")
    raise ValueError(none)


def drop(args: argparse.Namespace) -> int:
    """Take the candidate out of the settings file."""
    change_settings(args.config, {"shadow_weights": None, "shadow_share": None})
    print(f"{shown(args.config)}: no candidate")
    return reload(args, lambda found: bool(found["state"] == "off"))


def reload(args: argparse.Namespace, done: Callable[[Report], bool]) -> int:
    """Have the service take up its settings, and see by `done` whether it has."""
    if args.pid is None:
        print("to take it up, reload the service: kill -HUP PID, or systemctl reload segmif-run")
        return 0
    until = time.monotonic() + args.wait
    before = ask(args)["reloads"]  # and before the signal, which would end what is no service
    os.kill(args.pid, signal.SIGHUP)
    while (found := ask(args))["reloads"] == before:
        if time.monotonic() > until:
            raise ValueError(f"the service has not reloaded within {args.wait:g} s: see its log")
        time.sleep(PAUSE_S)
    if not done(found):
        raise ValueError(
            "the service has reloaded, and goes on as before: was it started with --config "
            f"{shown(args.config)}? A flag or variable, such as --weights, is stronger"
        )
    print("the service has taken it up")
    return 0


def ask(args: argparse.Namespace) -> Report:
    """What GET /shadow answers; raises OSError or ValueError."""
    if urlsplit(args.server).scheme not in ("http", "https"):
        raise ValueError(f"--server {args.server!r}: expected http://HOST:PORT or https://")
    token = os.environ.get("SEGMIF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = None
    if args.server.startswith("https"):
        context = ssl.create_default_context()
        if args.ca_file:
            context.load_verify_locations(args.ca_file)
    request = Request(f"{args.server.rstrip('/')}/shadow", headers=headers)
    try:
        with urlopen(request, timeout=ANSWER_S, context=context) as answer:
            found: Report = json_value(answer.read().decode())
            return found
    except HTTPError as error:
        raise ValueError(
            f"{args.server} answers {error.code}: is it this service, and SEGMIF_TOKEN its token?"
        ) from None
    except OSError as error:
        raise OSError(f"{args.server} does not answer ({error}): is --server right?") from None


def print_report(args: argparse.Namespace) -> int:
    """Print what the phase has found."""
    found = ask(args)
    print(json.dumps(found, indent=1) if args.json else "\n".join(as_lines(found)))
    return 0


def as_lines(found: Report) -> list[str]:
    """The report for people."""
    if found["state"] == "refused":
        return [f"the candidate is refused: {found['refused']}"]
    if found["state"] == "off":
        return ["there is no candidate: `segmif shadow start` names one"]
    pairs = found["pairs"]
    counted = ", ".join(f"{pairs[what]} {what}" for what in ("compared", "dropped", "failed"))
    lines = [
        f"in service {found['serving']['weights_sha256'][:12]}, "
        f"candidate {found['candidate']['weights_sha256'][:12]}, {found['share']:g} of the pairs",
        f"pairs: {counted}",
    ]
    if found["last_error"]:
        lines.append(f"last error: {found['last_error']}")
    if not pairs["compared"]:
        return lines
    lines += [
        f"{found['differing_share']:.2%} of the pixels have another class",
        f"fused pictures differ by {found['fused_levels']:.2f} of 255 levels in the mean",
        f"milliseconds in the mean: {found['serving_ms']['mean']:.1f} in service, "
        f"{found['candidate_ms']['mean']:.1f} candidate",
        f"  {'class':20}{'in service':>12}{'candidate':>12}{'IoU of both':>12}",
    ]
    for each in found["classes"]:
        iou = "-" if each["iou"] is None else f"{each['iou']:.3f}"
        shares = f"{each['serving_share']:>12.2%}{each['candidate_share']:>12.2%}"
        lines.append(f"  {each['name'][:19]:20}{shares}{iou:>12}")
    for each in found["changes"]:
        lines.append(f"  {each['serving']} became {each['candidate']}: {each['share']:.2%}")
    for each in found["largest"]:
        lines.append(f"  {each['request_id']}: {each['differing_share']:.1%} of its pixels differ")
    return lines
