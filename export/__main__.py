"""`python -m export COMMAND`: onnx, benchmark."""

import argparse
import sys

from export import benchmark, to_onnx

COMMANDS = {"onnx": to_onnx, "benchmark": benchmark}


def main() -> int:
    """Runs one command; its exit code is ours."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").strip().splitlines()[0])
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    args = parser.parse_args()
    try:
        return int(args.main(args))
    except (OSError, ValueError) as error:  # what the caller can mend: a path, a manifest
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
