"""
`segmif calibrate COMMAND`: target, live, unpack, pair, solve, scenes, pick, align, check, convert,
simulate.
"""

import sys
from collections.abc import Sequence

from segmif.interrupts import end_at_once

COMMANDS = {
    name: f"{__package__}.commands.{name}"
    for name in (
        "target",
        "live",
        "unpack",
        "pair",
        "solve",
        "scenes",
        "pick",
        "align",
        "check",
        "convert",
        "simulate",
    )
}


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; gives its exit code. `prog` is how the program was named."""
    from segmif import cli

    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["prove"]:
        print("`segmif calibrate prove` is now `segmif calibrate simulate`", file=sys.stderr)
        given[0] = "simulate"
    return cli.run("calibration", __doc__, COMMANDS, arguments=given, prog=prog)


if __name__ == "__main__":
    end_at_once()
    sys.exit(main())
