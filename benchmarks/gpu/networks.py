"""The parts of `benchmarks.gpu.check` that run whole networks in torch and ONNX Runtime."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.comparison import Compare, comparison, served
from benchmarks.gpu.report import Row
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.timing import roofline_ms
from benchmarks.gpu.tolerance import of_torch, tolerance
from segmif.manifest import Manifest, ManifestError
from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.ops.hia import device_kernels
from segmif.ops.native import KernelError, use


def network_times(setting: Setting, variant: str) -> Iterator[Row]:
    """Milliseconds of whole pairs, pixels to pixels, in FP16: eager and on our kernels."""
    compare = comparison(partial(tolerance, setting, variant, "fp16"))
    half, turned = (to_half(setting.network(variant)).to(setting.device) for _ in range(2))
    turned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    ms = setting.timer.milliseconds
    for batch in setting.batches if variant != "paper" else (1,):
        pair = setting.pair(batch)
        row: Row = {
            "batch": batch,
            "roofline_ms": roofline_ms(half, pair, setting.ceilings),
            "eager_ms": ms(lambda: half(*pair), graph=False),  # noqa: B023
            "graph_ms": ms(lambda: half(*pair)),  # noqa: B023
            "graph_channels_last_ms": ms(lambda: turned(*pair)),  # noqa: B023
        }
        forms = {"kernels": half, "kernels_channels_last": turned}
        yield row | _on_kernels(setting, forms, pair, compare)


def compiled_times(setting: Setting, variant: str) -> Iterator[Row]:
    """Milliseconds of whole pairs, compiled by torch, in FP16 and channels_last."""
    network = to_half(setting.network(variant)).to(setting.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    for batch in (1, setting.batches[-1]):
        pair = setting.pair(batch)
        torch._dynamo.reset()
        compiled = torch.compile(network, dynamic=False)
        took = setting.timer.milliseconds(partial(compiled, *pair))
        yield {"network": variant, "batch": batch, "compiled_ms": took}


def _on_kernels(
    setting: Setting, networks: dict[str, Network], pair: list[Tensor], compare: Compare
) -> Row:
    """Times of each form of a network on our kernels, and whether all answers are right."""
    try:
        use(setting.kernels())
    except KernelError as error:
        return {"kernels": str(error)}
    row: Row = {}
    try:
        for name, network in networks.items():
            row[f"{name}_ms"] = setting.timer.milliseconds(partial(network, *pair))
            row[name] = compare(of_torch(network, setting.device), len(pair[0]))
    finally:
        device_kernels.clear()
    checked = [row[name]["right"] for name in networks if "right" in row[name]]
    return row | ({"right": all(checked)} if checked else {})


def onnx_runtime(setting: Setting) -> Iterator[Row]:
    """
    Milliseconds of whole pairs through ONNX Runtime's CUDA provider, frames on the host.

    Frames go by IO binding through pinned memory, as in the service, and without.
    """
    from segmif.runtime.onnxruntime_ import open_onnx

    if setting.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as ONNX Runtime multiplies there
    for variant in ("edge", "nano", "paper"):
        path = setting.args.weights / f"{variant}.onnx"
        if not path.is_file():
            yield {"network": variant, "left_out": f"{path.name} is not there"}
            continue
        compare = comparison(partial(tolerance, setting, variant, "fp32"))
        for bound in (True, False):
            runtime = open_onnx(path, None, setting.device, bound=bound)
            yield from served(setting, runtime, compare, {"network": variant, "bound": bound})
            runtime.close()


def exported(setting: Setting, variant: str) -> Iterator[Row]:
    """The FP16 ONNX that the parts of engines read."""
    from export import to_onnx

    weights = setting.args.weights / f"{variant}.safetensors"
    onnx = setting.folder / f"{variant}.fp16.onnx"
    start = time.monotonic()
    if not _made_of(onnx, weights):  # by an earlier run
        to_onnx.export(weights, onnx, "fp16")
    yield {"network": variant, "export_s": time.monotonic() - start}


def _made_of(onnx: Path, weights: Path) -> bool:
    try:
        return Manifest.read(onnx).source_sha256 == Manifest.read(weights).sha256
    except ManifestError:
        return False
