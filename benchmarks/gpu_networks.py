"""The parts of `gpu_check.py` that run whole networks in torch and ONNX Runtime."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from gpu_compare import Compare, comparison, served
from gpu_exact import of_torch, reference
from gpu_setting import Row
from gpu_timing import roofline_ms
from gpu_torch import Check
from torch import Tensor

from segmif.manifest import Manifest, ManifestError
from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.ops.hia import fast_forms
from segmif.ops.native import KernelError, use


def network_times(check: Check, variant: str) -> Iterator[Row]:
    """Milliseconds of whole pairs, pixels to pixels, in FP16: eager, on our kernels, compiled."""
    compare = comparison(partial(reference, check, variant, "fp16"))
    half, turned = (to_half(check.network(variant)).to(check.device) for _ in range(2))
    turned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    ms = check.timer.milliseconds
    for batch in check.batches if variant != "paper" else (1,):
        pair = check.pair(batch)
        row: Row = {
            "batch": batch,
            "roofline_ms": roofline_ms(half, pair, check.ceilings),
            "eager_ms": ms(lambda: half(*pair), graph=False),  # noqa: B023
            "graph_ms": ms(lambda: half(*pair)),  # noqa: B023
            "graph_channels_last_ms": ms(lambda: turned(*pair)),  # noqa: B023
        }
        forms = {"kernels": half, "kernels_channels_last": turned}
        yield row | _on_kernels(check, forms, pair, compare)
    for batch in (1, check.batches[-1]) if variant != "paper" else ():  # last: compiling takes long
        pair = check.pair(batch)
        torch._dynamo.reset()
        compiled = torch.compile(turned, dynamic=False)
        yield {"batch": batch, "compiled_ms": ms(lambda: compiled(*pair))}  # noqa: B023


def _on_kernels(
    check: Check, networks: dict[str, Network], pair: list[Tensor], compare: Compare
) -> Row:
    """Times of each form of a network on our kernels, and whether all answer rightly."""
    try:
        use(check.kernels())
    except KernelError as error:
        return {"kernels": str(error)}
    row: Row = {}
    try:
        for name, network in networks.items():
            row[f"{name}_ms"] = check.timer.milliseconds(partial(network, *pair))
            row[name] = compare(of_torch(network, check.device), len(pair[0]))
    finally:
        fast_forms.clear()
    judged = [row[name]["right"] for name in networks if "right" in row[name]]
    return row | ({"right": all(judged)} if judged else {})


def onnx_runtime(check: Check) -> Iterator[Row]:
    """Milliseconds of whole pairs through ONNX Runtime's CUDA provider, frames on the host."""
    from segmif.runtime import open_runtime

    if check.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as ONNX Runtime multiplies there
    for variant in ("edge", "nano", "paper"):
        path = check.args.weights / f"{variant}.onnx"
        if not path.is_file():
            yield {"network": variant, "left_out": f"{path.name} is not there"}
            continue
        runtime = open_runtime(path, device=check.device)  # type: ignore[arg-type]
        compare = comparison(partial(reference, check, variant, "fp32"))
        yield from served(check, runtime, compare, {"network": variant})
        runtime.close()


def exported(check: Check, variant: str) -> Iterator[Row]:
    """The FP16 ONNX that the parts of engines read."""
    from export import to_onnx

    weights = check.args.weights / f"{variant}.safetensors"
    onnx = check.folder / f"{variant}.fp16.onnx"
    start = time.monotonic()
    if not _made_of(onnx, weights):  # by an earlier run
        to_onnx.export(weights, onnx, "fp16")
    yield {"network": variant, "export_s": time.monotonic() - start}


def _made_of(onnx: Path, weights: Path) -> bool:
    try:
        return Manifest.read(onnx).source_sha256 == Manifest.read(weights).sha256
    except ManifestError:
        return False
