"""The sizes, kernels and networks that the parts of `benchmarks.gpu.check` measure."""

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.timing import Ceilings, Timer
from export.tolerance import Bytes
from segmif.model.network import Network
from segmif.model.weights import load_network
from segmif.ops.native import SOURCES, TEMPERATURE, KernelError, Kernels
from segmif.ops.native_pixels import PixelKernels


class Setting:
    """The sizes that every part measures, its device, and the folder of what the parts make."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder: Path = args.plugin.parent  # of ONNX files and engines
        self.runs = 1 if args.rehearse else 50
        self.height, self.width = (64, 96) if args.rehearse else (480, 640)
        self.batches = (1, 2) if args.rehearse else (1, 8)
        self.device = "cpu" if args.rehearse else "cuda"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU here")
        torch.backends.cudnn.benchmark = True  # compare with the fastest torch
        torch.backends.cudnn.benchmark_limit = 3  # of cuDNN's suggestions; ten would take minutes
        self.l2_bytes = 0
        if self.device == "cuda":
            self.l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
        self.timer = Timer(self.device, self.runs)
        self.ceilings = Ceilings(**args.ceilings)
        rows, columns = self.height // 4, self.width // 4
        self.attentions = {  # channels, heads, height, width of the maps
            "nano": (48, 6, rows // 2, columns // 2),
            "edge": (64, 8, rows // 2, columns // 2),
            "paper": (64, 8, self.height, self.width),
        }

    def kernels(self) -> Kernels:
        """Our kernels, built now for a rehearsal; raises KernelError if they are missing."""
        return Kernels(self._library("interactive_attention"), self.device)

    def pixel_kernels(self) -> PixelKernels:
        """The same for the last pixels."""
        return PixelKernels(self._library("pixels"), self.device)

    def _library(self, name: str) -> Path:
        named: Path | None = self.args.kernels
        return named or built_for_cpu(name, self.args.built)

    def candidates(self) -> list[Path]:
        """Builds of the kernels with other launches (`--target candidates` of the plugin)."""
        return sorted(self.args.candidates.glob("*.so"))

    def pixel_arguments(self, batch: int, dtype: torch.dtype) -> list[Tensor]:
        """A random pair in levels, fused luma, logits of nine classes, and a tint."""
        random = torch.Generator(self.device).manual_seed(batch)
        size, at_4 = (batch, self.height, self.width), (self.height // 4, self.width // 4)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=random, device=self.device)

        frames = [(255 * uniform(*shape)).round() for shape in ((*size, 3), size)]
        given = [*frames, uniform(*size), 9 * uniform(batch, 9, *at_4)]
        return [each.to(dtype) for each in given] + [uniform(batch)]

    def frames(self, batch: int) -> list[Bytes]:
        """Random pixels on the host: visible (B, H, W, 3) and infrared (B, H, W)."""
        random = np.random.default_rng(batch)
        shape = (batch, self.height, self.width)
        return [random.integers(0, 256, each, np.uint8) for each in ((*shape, 3), shape)]

    def pair(self, batch: int) -> list[Tensor]:
        """Random pixels on the device."""
        return [torch.from_numpy(frames).to(self.device) for frames in self.frames(batch)]

    def network(self, variant: str) -> Network:
        """A network with trained weights if there are any; times are the same without."""
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


def built_for_cpu(name: str, folder: Path) -> Path:
    """
    A library of a source of kernels for this CPU, in `folder`, if no earlier part built it there.

    Raises KernelError if no compiler builds it.
    """
    library, source = folder / f"{name}.so", SOURCES / f"{name}.cu"
    if library.exists():
        return library
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise KernelError(
            "there is no C++ compiler to build the kernels for this CPU: install g++, or name a "
            "build with --kernels"
        )
    part = library.with_suffix(".part")  # of a build that is killed
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-x", "c++"]
    made = subprocess.run([compiler, *flags, source, "-o", part], check=False)
    if made.returncode:
        raise KernelError(f"{compiler} cannot build {source.name}: what it says stands above")
    return part.rename(library)
