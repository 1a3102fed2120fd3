"""`python -m service`: serve answers over HTTP, infer works through folders, bench measures."""

import sys
from collections.abc import Sequence

from segmif.interrupts import end_at_once, note_hang_up

RELOAD_ON_SIGHUP = ("serve", "run")


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run `service.commands.cli`, whose imports take a second, and give its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in RELOAD_ON_SIGHUP:
        note_hang_up()
    from .commands import cli

    return cli.main(arguments, prog or "python -m service")


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
