"""
Infrared and visible frames in, one fused picture and a mask of classes out.

`segmif COMMAND --help` explains a command; its defaults stand in brackets.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from segmif.install import version
from segmif.interrupts import end_at_once


class Command(NamedTuple):
    """What a command runs: a program, or one command of it."""

    program: str
    help: str
    words: tuple[str, ...] = ()


COMMANDS = {
    "serve": Command("service", "answer over HTTP and WebSocket (port 8000)", ("serve",)),
    "run": Command("service", "read two cameras or recordings, fuse and pass on", ("run",)),
    "infer": Command("service", "fuse and label folders of frames, or recordings", ("infer",)),
    "shadow": Command("service", "try a candidate network beside the one in service", ("shadow",)),
    "train": Command("training", "train a network on pairs with labels", ("train",)),
    "evaluate": Command("training", "what weights are worth on labelled pairs", ("evaluate",)),
    "export": Command("export", "weights to ONNX, ONNX to INT8 or to a TensorRT engine"),
    "calibrate": Command("calibration", "two cameras to a rig.yaml: target, solve, check, ..."),
}
PROGRAMS = {  # with commands that are wanted less often
    "service": Command("service", "serve, infer; bench measures a running service"),
    "training": Command("training", "train, evaluate; describe a data set, render one, ..."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (None: the command line) name; gives its exit code."""
    end_at_once()
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    if name == "doctor":
        from segmif import doctor

        return doctor.main(arguments[1:])
    command = (COMMANDS | PROGRAMS | {"calibration": COMMANDS["calibrate"]}).get(name)
    if command is None:
        parser().parse_args(arguments)
        return 2
    program = import_module(f"segmif.{command.program}.__main__")
    prog = "segmif" if command.words else f"segmif {name}"
    return int(program.main([*command.words, *arguments[1:]], prog))


def parser() -> argparse.ArgumentParser:
    """The command line up to the command's name."""
    described = argparse.ArgumentParser(
        prog="segmif", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    described.add_argument("--version", action="version", version=f"segmif {version()}")
    commands = described.add_subparsers(required=True, metavar="COMMAND")
    for name, command in (COMMANDS | PROGRAMS).items():
        commands.add_parser(name, help=command.help)
    commands.add_parser("doctor", help="what works on this machine, and the remedy if it does not")
    return described


if __name__ == "__main__":
    sys.exit(main())
