"""The parts of `benchmarks.gpu.check`; each gives its rows as it finds them."""

import argparse
import importlib
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu import sanitizers
from benchmarks.gpu.networks import compiled_times, exported, network_times, onnx_runtime
from benchmarks.gpu.report import Row
from benchmarks.gpu.setting import Setting
from segmif.model.pixels import plain as plain_pixels
from segmif.model.precision import to_half
from segmif.ops.hia import gram, plain
from segmif.ops.native import Kernels, use
from segmif.ops.native_pixels import PixelKernels

ODD = [(2, 24, 3, 13, 7), (1, 40, 5, 97, 1), (3, 16, 4, 5, 64), (1, 8, 2, 1, 1)]
Attention = Callable[..., tuple[Tensor, Tensor]]

GOAL_US, GOAL_SHARE = 8.0, 0.6  # of one small HIA; of the copy bandwidth
# Networks whose maps are timed, and batches: the most important first.
TIMED = [("edge", 1), ("edge", 8), ("paper", 1), ("nano", 1), ("nano", 8)]


def run(args: argparse.Namespace) -> Iterator[Row]:
    """The rows of the part that the arguments name."""
    variant = args.part.rpartition("_")[2]
    parts: dict[str, Callable[[Setting], Iterator[Row]]] = {
        "machine": machine,
        "attention_errors": attention_errors,
        "attention_times": attention_times,
        "pixels": pixels,
        "onnxruntime": onnx_runtime,
        "profile": profile,
        "sanitizers": sanitizers.found,
        "compiled": compiled,
    }
    if args.part == "layers" or args.part.startswith("tensorrt"):
        from benchmarks.gpu import engines  # needs onnx, which the other parts do not

        return engines.PARTS[args.part](Setting(args))
    whole = exported if args.part.startswith("onnx_") else network_times
    return parts.get(args.part, partial(whole, variant=variant))(Setting(args))


def machine(setting: Setting) -> Iterator[Row]:
    """GPU, driver, versions, date, and measured copy and multiplication rates."""
    facts: Row = {
        "gpu": "rehearsal",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%MZ}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "onnxruntime": _version("onnxruntime"),
        "tensorrt": _version("tensorrt"),
    }
    if setting.device == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:  # on a Jetson
            said = "no nvidia-smi"
        facts |= {
            "gpu": torch.cuda.get_device_name(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "driver": said.strip(),
            "cuda": torch.version.cuda,
        }
    yield facts | {"ceilings": asdict(setting.timer.ceilings())}


def _version(module: str) -> str:
    try:
        return str(importlib.import_module(module).__version__)
    except (ImportError, OSError, AttributeError) as error:  # OSError: a library of its own
        return f"none: {error}"


def attention_errors(setting: Setting) -> Iterator[Row]:
    """Kernels against float64, beside plain torch in the same precision; both layouts."""
    kernels = setting.kernels()
    for size in [*ODD, *((1, *size) for size in setting.attentions.values())]:
        for dtype in (torch.float32, torch.float16):
            given = setting.attention_arguments(*size, dtype=dtype)
            exact = plain(*(array.double() for array in given))
            torchs = _error(plain(*given), exact)
            ulp = torch.finfo(dtype).eps * max(map_.abs().max().item() for map_ in exact)
            for layout in (torch.contiguous_format, torch.channels_last):
                maps = [map_.contiguous(memory_format=layout) for map_ in given[:3]]
                answers = [kernels.attention(*maps, *given[3:]) for _ in range(2)]
                ours = _error(answers[0], exact)
                same = all(torch.equal(*pair) for pair in zip(*answers, strict=True))
                yield {
                    "size": size,
                    "dtype": str(dtype),
                    "layout": str(layout),
                    "error": ours,
                    "plain_torch": torchs,
                    "same_twice": same,
                    "right": ours <= 2 * torchs + ulp and same,
                }


def _error(given: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    pairs = zip(given, exact, strict=True)
    return max((ours.double() - truth).abs().max().item() for ours, truth in pairs)


def attention_times(setting: Setting) -> Iterator[Row]:
    """
    Microseconds of HIA in FP16.

    The goal of small maps is a time, as they fill no GPU. That of `paper` is a share of the copy
    bandwidth. A candidate that is faster becomes the default by a flag of cmake.
    """
    kernels = setting.kernels()
    others = {path.stem: Kernels(path, setting.device) for path in setting.candidates()}

    def us(form: Attention, given: list[Tensor], *, cold: bool = False) -> float:
        return 1e3 * setting.timer.milliseconds(partial(form, *given), cold=cold)

    for name, batch in TIMED:
        given = setting.attention_arguments(batch, *setting.attentions[name], dtype=torch.float16)
        turned = [map_.to(memory_format=torch.channels_last) for map_ in given[:3]] + given[3:]
        moved = _moved_bytes(given[0], setting.l2_bytes)
        cold = us(kernels.attention, given, cold=True)
        yield {
            "network": name,
            "batch": batch,
            "megabytes": moved / 1e6,
            "kernels_us": us(kernels.attention, given),
            "kernels_cold_us": cold,
            "kernels_channels_last_us": us(kernels.attention, turned),
            "kernels_channels_last_cold_us": us(kernels.attention, turned, cold=True),
            "goal_us": _goal_us(name, batch, moved, setting.ceilings.copy_gb_s),
            "share_of_copy_bandwidth": moved / cold / 1e3 / setting.ceilings.copy_gb_s,
            "gram_us": us(gram, given),
            "plain_us": us(plain, given),
            **{f"{name}_us": us(each.attention, given) for name, each in others.items()},
        }


def _moved_bytes(map_: Tensor, l2_bytes: int) -> int:
    """
    Three maps read, two written.

    Maps are read twice, as the Gram matrices come first, but those that L2 holds only once from
    memory.
    """
    size = map_.numel() * map_.element_size()
    return (5 if 3 * size <= l2_bytes else 8) * size


def _goal_us(name: str, batch: int, moved: int, copy_gb_s: float) -> float:
    """What the kernels should take at most: small maps one by one, large ones by the bandwidth."""
    if name != "paper" and batch == 1:
        return GOAL_US
    return moved / 1e3 / (GOAL_SHARE * copy_gb_s)


def pixels(setting: Setting) -> Iterator[Row]:
    """
    Microseconds of the last pixels, with the label strides of `edge` and `nano`; deviations.

    Right is what deviates from float64 by rounding alone: few values, by at most two levels.
    """
    kernels = setting.pixel_kernels()
    others = {path.stem: PixelKernels(path, setting.device) for path in setting.candidates()}
    for stride in (1, 2):
        for batch in setting.batches:
            given = setting.pixel_arguments(batch, torch.float16)
            run = partial(kernels.pixels, *given, label_stride=stride)
            exact = plain_pixels(*(each.double() for each in given), label_stride=stride)
            off = [(each.double() - truth).abs() for each, truth in zip(run(), exact, strict=True)]
            moved = sum(each.numel() * 2 for each in (*given, *given[:2], given[1]))
            us = 1e3 * setting.timer.milliseconds(run)
            yield {
                "label_stride": stride,
                "batch": batch,
                "kernels_us": us,
                "kernels_cold_us": 1e3 * setting.timer.milliseconds(run, cold=True),
                "share_of_copy_bandwidth": moved / us / 1e3 / setting.ceilings.copy_gb_s,
                "plain_us": 1e3
                * setting.timer.milliseconds(partial(plain_pixels, *given, label_stride=stride)),
                **{
                    f"{name}_us": 1e3
                    * setting.timer.milliseconds(partial(each.pixels, *given, label_stride=stride))
                    for name, each in others.items()
                },
                "values_that_differ": [(each > 0).double().mean().item() for each in off],
                "right": all(
                    (e > 0).double().mean() < 1e-3 and e.max() <= m
                    for e, m in zip(off, (2, 8, 1), strict=True)
                ),
            }


def compiled(setting: Setting) -> Iterator[Row]:
    """Times of what torch compiles: whole networks, then HIA. Compiling takes long."""
    for variant in ("edge", "nano"):
        yield from compiled_times(setting, variant)
    for form in (plain, gram):  # last, for compiling may take all the time that is left
        for name, batch in sorted(TIMED, key=lambda each: each[0] != "paper"):
            given = setting.attention_arguments(
                batch, *setting.attentions[name], dtype=torch.float16
            )
            torch._dynamo.reset()  # each size gets a program of its own, as a user would
            run = partial(torch.compile(form, dynamic=False), *given)
            took = 1e3 * setting.timer.milliseconds(run)
            yield {"network": name, "batch": batch, f"compiled_{form.__name__}_us": took}


def profile(setting: Setting) -> Iterator[Row]:
    """The longest GPU kernels of `edge` on our kernels, batch 1."""
    network, pair = to_half(setting.network("edge")).to(setting.device), setting.pair(1)
    use(setting.kernels())
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setting.device == "cuda":
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.no_grad():
        network(*pair)
        with torch.profiler.profile(activities=activities) as recorded:
            for _ in range(setting.runs):
                network(*pair)
    on_cpu = setting.device == "cpu"
    totals = {
        each.key: each.self_cpu_time_total if on_cpu else each.self_device_time_total
        for each in recorded.key_averages()
    }
    for name in sorted(totals, key=lambda key: -totals[key])[:25]:
        yield {"kernel": name[:120], "us_a_pair": totals[name] / setting.runs}
