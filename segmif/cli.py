"""One way to run the commands of a program."""

import ast
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from segmif.addresses import masked
from segmif.argument_types import MaskingParser
from segmif.files import words_of
from segmif.install import install_command
from segmif.interrupts import end_in_order
from segmif.machine import usable_cores

Result = TypeVar("Result")

INTERRUPTED = 130  # exit code of what Ctrl-C ended: 128 + SIGINT, as shells have it
NO_MEMORY = "the memory of this machine does not suffice: give it less at a time, or free some"


class NotInstalled(Exception):
    """A command needs a package that this install lacks."""


def run(
    program: str,
    description: str | None,
    commands: Mapping[str, ModuleType | str],
    extra: str | None = None,
    arguments: Sequence[str] | None = None,
    prog: str | None = None,
) -> int:
    """
    Runs the command that `arguments` (None: the command line) name; gives its exit code.

    A command is a module with `add_arguments(parser)` and `main(args) -> int`, or the name of one,
    which is imported only when the command is named; the first line of its docstring is its help.
    What the caller can mend (a path, a frame, a setting, a GPU: OSError, ValueError or MemoryError;
    a package of the `extra` that is not installed) is said in one sentence, exit code 1.
    """
    print_any_name()
    keep_to_cores()
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = MaskingParser(prog=prog or f"python -m {program}", description=description)
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    named = arguments[0] if arguments else None
    try:
        for name, module in commands.items():
            sentence = _first_line(module)
            command = choices.add_parser(name, help=sentence, description=sentence)
            if name == named:
                whole = _imported(module, command.prog, program, extra)
                whole.add_arguments(command)
                command.set_defaults(main=whole.main)
        args = parser.parse_args(arguments)
        end_in_order()
        working = f"{parser.prog} {named}"
        return int(_with_packages(lambda: args.main(args), working, program, extra))
    except (OSError, ValueError, MemoryError, NotInstalled) as error:
        said = masked(words_of(error)) or NO_MEMORY  # Python's own MemoryError says nothing
        print(f"{parser.prog}: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped", file=sys.stderr)
        return INTERRUPTED


def print_any_name() -> None:
    """Have names of files that are no UTF-8 printed escaped; an error would end the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def keep_to_cores() -> None:
    """Have torch, imported later, use no more threads than the container's quota leaves cores."""
    usable = usable_cores()
    if usable < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(usable))


def _first_line(module: ModuleType | str) -> str:
    """Of the docstring; that of a name is read from the file, as its imports may be missing."""
    if isinstance(module, str):
        spec = find_spec(module)
        assert spec and spec.origin, f"{module} is no module of this project"
        docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    else:
        docstring = module.__doc__
    return (docstring or "").strip().splitlines()[0]


def _imported(
    module: ModuleType | str, command: str, program: str, extra: str | None
) -> ModuleType:
    if isinstance(module, str):
        return _with_packages(lambda: import_module(module), command, program, extra)
    return module


def _with_packages(
    do: Callable[[], Result], command: str, program: str, extra: str | None
) -> Result:
    """What `do` gives; NotInstalled if it needs a package that is not ours and not here."""
    try:
        return do()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if extra is None or missing in ("", "segmif", program):
            raise
        raise NotInstalled(
            f"{command} needs {missing}, which is not installed: {install_command(extra)}"
        ) from error
