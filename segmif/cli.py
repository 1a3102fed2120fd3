"""One way to run the commands of a program."""

import argparse
import sys
from collections.abc import Mapping
from types import ModuleType

NO_MEMORY = "the memory of this machine does not suffice: give it less at a time, or free some"


def run(program: str, description: str | None, commands: Mapping[str, ModuleType]) -> int:
    """
    Runs the command that the command line names; gives its exit code.

    A command is a module with `add_arguments(parser)` and `main(args) -> int`; the first line of
    its docstring is its help. What the caller can mend (a path, a frame, a setting, a GPU: OSError,
    ValueError or MemoryError) is said in one sentence, exit code 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in commands.items():
        sentence = (module.__doc__ or "").strip().splitlines()[0]
        command = choices.add_parser(name, help=sentence, description=sentence)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    args = parser.parse_args()
    try:
        return int(args.main(args))
    except (OSError, ValueError, MemoryError) as error:
        said = str(error) or NO_MEMORY  # Python's own MemoryError says nothing
        print(f"{parser.prog}: {said}", file=sys.stderr)
        return 1
