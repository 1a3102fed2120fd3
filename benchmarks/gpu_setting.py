"""The machine and the sizes that every part of `gpu_check.py` measures."""

import argparse
from typing import Any

import numpy as np
import torch
from gpu_timing import Ceilings, Timer
from torch import Tensor

from segmif.model.network import Network
from segmif.model.weights import load_network
from segmif.ops.native import TEMPERATURE, Kernels

Row = dict[str, Any]


class Check:
    """The machine and the sizes that every part measures."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = "cpu" if args.rehearse else "cuda"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU here")
        self.timer = Timer(self.device, runs=2 if args.rehearse else 50)
        self.height, self.width = (64, 96) if args.rehearse else (480, 640)
        self.batches = (1, 2) if args.rehearse else (1, 2, 4, 8)
        self.ceilings = Ceilings(**args.ceilings)
        rows, columns = self.height // 4, self.width // 4
        self.attentions = {  # channels, heads, height, width of the maps
            "nano": (24, 3, rows, columns),
            "edge": (40, 5, rows, columns),
            "paper": (64, 8, self.height, self.width),
        }

    def kernels(self) -> Kernels:
        """Our kernels; KernelError where they are not built."""
        return Kernels(self.args.kernels, self.device)

    def pair(self, batch: int) -> list[Tensor]:
        """Random pixels on the device."""
        return [torch.from_numpy(frames).to(self.device) for frames in self.frames(batch)]

    def frames(self, batch: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        """Random pixels on the host."""
        random = np.random.default_rng(batch)
        shape = (batch, self.height, self.width)
        return [random.integers(0, 256, each, np.uint8) for each in ((*shape, 3), shape)]

    def network(self, variant: str) -> Network:
        """Trained weights where there are any; times are the same without."""
        path = self.args.weights / f"{variant}.safetensors"
        if path.is_file():
            return load_network(path, self.device)
        torch.manual_seed(0)
        return Network(variant).eval().to(self.device)

    def attention_arguments(
        self, batch: int, channels: int, heads: int, height: int, width: int, dtype: torch.dtype
    ) -> list[Tensor]:
        """Random maps and parameters of HIA, as its tests make them."""
        random = torch.Generator(self.device).manual_seed(channels * height)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, device=self.device)

        weight = channels**-0.5
        exact = [
            *(normal(batch, channels, height, width) for _ in range(3)),
            weight * normal(3, 2 * channels, channels),
            normal(3, 2 * channels) / 4,
            weight * normal(3, channels, channels),
            weight * normal(3, channels, channels),
            4 * normal(3, heads).exp(),
            weight * normal(2, channels, 2 * channels),
            normal(2, channels) / 4,
            1 + normal(2, channels) / 4,
            normal(2, channels) / 4,
        ]
        exact = [array.to(dtype) for array in exact]
        exact[TEMPERATURE] = exact[TEMPERATURE].float()  # as a network in half has it
        return exact
