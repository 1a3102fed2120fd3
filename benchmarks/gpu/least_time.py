"""
A lower bound of the time for one pair, from a device's arithmetic and memory rates.

    python -m benchmarks.gpu.least_time [--size 480x640]

Each layer takes the longer of its arithmetic at the data sheet's dense FP16 rate and of moving its
inputs, weights and outputs once in FP16. Everything between layers counts as fused. It is an
estimate that no network reaches.
"""

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segmif.model.hia import HierarchicalInteractiveAttention
from segmif.model.network import Network
from segmif.model.precision import fold_norms

HALF = 2  # bytes
DEVICES = {  # FLOP/s dense in FP16, bytes/s: data sheets; H200: both measured by others
    "AGX Orin 64 GB": (42.5e12, 204e9),
    "Orin NX 16 GB": (15e12, 102e9),
    "H200": (790e12, 4.3e12),
}


@dataclass(frozen=True)
class Layer:
    """What one layer computes and moves."""

    flops: int
    bytes: int


def layers(variant: str, height: int, width: int) -> list[Layer]:
    """The convolutions and attentions of a variant, for one pair."""
    network = fold_norms(Network(variant).eval())
    moved: dict[str, int] = {}

    def note(name: str, module: nn.Module, given: tuple[Tensor, ...], made: object) -> None:
        out = made if isinstance(made, tuple) else (made,)
        tensors = [*given, *out, *module.parameters()]
        moved[name] = HALF * sum(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor))

    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, HierarchicalInteractiveAttention)):
            module.register_forward_hook(lambda m, i, o, name=name: note(name, m, i, o))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.predict(torch.rand(1, height, width, 3), torch.rand(1, height, width))
    flops = {place: sum(of.values()) for place, of in counter.get_flop_counts().items()}
    return [
        Layer(flops[name.replace("core", "PairNetwork", 1)], size) for name, size in moved.items()
    ]


def main() -> None:
    """Prints a line for each variant and device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="480x640", help="height x width, multiples of 32")
    height, width = map(int, parser.parse_args().size.split("x"))
    for variant in ("edge", "nano"):
        found = layers(variant, height, width)
        flops, size = sum(one.flops for one in found), sum(one.bytes for one in found)
        print(f"{variant}: {len(found)} layers, {flops / 1e9:.1f} GFLOP, {size / 1e6:.0f} MB")
        for device, (rate, bandwidth) in DEVICES.items():
            least = sum(max(one.flops / rate, one.bytes / bandwidth) for one in found)
            print(
                f"  {device}: {1e3 * least:.2f} ms, a third of that speed {1 / (3 * least):.0f}/s"
            )


if __name__ == "__main__":
    main()
