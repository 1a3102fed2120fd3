"""The flags of what can be done by many processes of Ray."""

import argparse

from segmif.argument_types import IntegerRange


def add_ray_arguments(parser: argparse.ArgumentParser, text: str) -> None:
    """The flags --ray, explained by `text`, and --replicas."""
    parser.add_argument("--ray", action="store_true", help=f"{text} (needs the extra `ray`)")
    parser.add_argument(
        "--replicas",
        type=IntegerRange(1, 10_000),
        metavar="N",
        help="with --ray: networks (as many as GPUs, else cores; each then has one thread)",
    )
