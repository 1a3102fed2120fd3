"""
Kernel launches, traffic and arithmetic of an ONNX on a GPU, by TensorRT's rules of fusion.

    python -m benchmarks.gpu.launches weights/edge.onnx [--size 480x640] [--layers]

It needs no GPU. The rules follow TensorRT's documentation:

1. What depends on shapes and constants alone is computed on the host or before: no launch.
2. Views (Reshape, Squeeze, Unsqueeze, Identity) launch nothing.
3. A convolution takes the BatchNorm, the sum and the ReLU, Clip, Sigmoid or Tanh that it alone
   feeds, in this order. PReLU stays out.
4. Pointwise operations of one image size that feed one another are one launch, as long as nothing
   outside lies between them. A Slice or Split is part of what reads it.
5. A Concat costs nothing if all that it joins comes from launches: they write into its memory.
   Otherwise it is one launch.
6. Everything else is one launch: pooling, Resize, reduction, Softmax, MatMul, Transpose.
7. HIA on our plugin is three launches, the last pixels two. `--native` counts their bodies instead.

The least time of a launch is the longer of two: its arithmetic at the data sheet's dense FP16 rate,
and moving its inputs, weights and outputs once. It is an estimate that no network reaches.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from segmif.runtime.onnxruntime_ import onnxruntime

AT_A_TIME = 200  # tensors that a run holds: all of `edge` would be two gigabytes
LAUNCH_S = 2e-6  # of a small kernel in a CUDA graph: an estimate
DEVICES = {  # FLOP/s dense in FP16, bytes/s: data sheets; H200: both measured by others
    "AGX Orin 64 GB": (42.5e12, 204e9),
    "Orin NX 16 GB": (15e12, 102e9),
    "H200": (790e12, 4.3e12),
}
ATTENTION = "InteractiveAttention"
OURS = {ATTENTION: 3, "Pixels": 2}  # launches of our plugin
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
PARTS = {"Slice", "Split"}  # of what reads them
ACTIVATIONS = {"Relu", "Clip", "Sigmoid", "Tanh"}
POINTWISE = ACTIVATIONS | PARTS | {
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Abs", "Neg", "Floor", "Ceil", "Round"),
    *("Sign", "Min", "Max", "PRelu", "LeakyRelu", "HardSwish", "Erf", "Where", "Greater", "Less"),
    *("GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or", "Not", "Cast", "CastLike", "Expand"),
    *("Reciprocal", "Sum", "BatchNormalization"),
}  # fmt: skip


@dataclass
class Launch:
    """One kernel, or what our plugin launches for a node."""

    nodes: list[NodeProto]
    launches: int = 1
    before: set[int] = field(default_factory=set)  # numbers of the launches that it waits for
    stage: int = 0  # of a convolution: 1 with its norm, 2 with its sum, 3 with its activation

    @property
    def kind(self) -> str:
        """What it is counted as."""
        first = self.nodes[0].op_type
        return "pointwise" if first in POINTWISE else first


class Graph:
    """An ONNX graph, and its tensors' sizes, which one run of it on black frames shows."""

    def __init__(self, model: ModelProto, height: int, width: int, *, native: bool = False) -> None:
        if native:
            model = onnx.inliner.inline_local_functions(model)
        self.graph = model.graph
        found = _run(model, (1, height, width))
        found |= {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.shapes = {name: array.shape for name, array in found.items()}
        self.bytes = {name: array.itemsize for name, array in found.items()}  # of an element
        self.constant = {each.name for each in model.graph.initializer} | {""}
        self.readers: Counter[str] = Counter(
            name for node in model.graph.node for name in node.input
        )
        self.readers.update(each.name for each in model.graph.output)

    def size(self, name: str) -> int:
        """Bytes of a tensor."""
        return int(prod(self.shapes[name])) * self.bytes[name] if name else 0

    def pixels(self, name: str) -> int:
        """Pixels of an image: rows times columns of (B, H, W), (B, C, H, W) or (B, H, W, 3)."""
        shape = self.shapes[name]
        if len(shape) == 4 and shape[3] == 3:
            return int(shape[1] * shape[2])
        return int(prod(shape[-2:]))


def _run(model: ModelProto, size: tuple[int, int, int]) -> dict[str, NDArray[Any]]:
    """Shape and type of every tensor, as arrays without memory; holds some tensors at a time."""
    names = [name for node in model.graph.node for name in node.output if name]
    watched = ModelProto.FromString(model.SerializeToString())
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {each.name: _black(each, size) for each in model.graph.input}
    bare = onnxruntime.RunOptions()
    bare.only_execute_path_to_fetches = True
    found = dict(given)
    for first in range(0, len(names), AT_A_TIME):
        some = names[first : first + AT_A_TIME]
        for name, array in zip(some, session.run(some, given, bare), strict=True):
            found[name] = np.broadcast_to(np.zeros((), array.dtype), array.shape)
    return found


def _black(given: onnx.ValueInfoProto, size: tuple[int, int, int]) -> NDArray[Any]:
    """Zeros for an input (B, H, W, ...) of any size."""
    kind = given.type.tensor_type
    dims = [dim.dim_value for dim in kind.shape.dim]
    shape = [dim or size[place] for place, dim in enumerate(dims)]
    return np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))


def launches(graph: Graph) -> list[Launch]:
    """The launches in the order of the graph, by the rules of this module."""
    found: list[Launch] = []
    made_by: dict[str, int] = {}  # tensor -> number of its launch; views keep that of their source
    host = set(graph.constant)
    for node in graph.graph.node:
        if node.op_type in ("Shape", "Size", "Constant") or set(node.input) <= host:
            host.update(node.output)
            continue
        given = [name for name in node.input if name not in host]
        before = {made_by[name] for name in given if name in made_by}
        if node.op_type in VIEWS or (node.op_type == "Concat" and _joined_in_place(given, made_by)):
            number = max(before, default=-1)
            made_by.update((name, number) for name in node.output if number >= 0)
            continue
        taken = _fused_into(node, given, graph, found, made_by, before)
        number = len(found) if taken is None else taken
        if taken is None:
            found.append(Launch([], OURS.get(node.op_type, 1)))
        launch = found[number]
        launch.nodes.append(node)
        for each in before - {number}:
            launch.before |= {each} | found[each].before
        made_by.update((name, number) for name in node.output)
    return found


def _joined_in_place(given: list[str], made_by: dict[str, int]) -> bool:
    return all(name in made_by for name in given)


def _fused_into(
    node: NodeProto,
    given: list[str],
    graph: Graph,
    found: list[Launch],
    made_by: dict[str, int],
    before: set[int],
) -> int | None:
    """The launch that takes the node in; None if it is a new one."""
    for name in given:
        number = made_by.get(name)
        if number is None or any(number in found[other].before for other in before - {number}):
            continue
        if _convolution_takes(node, found[number], graph.readers[name]):
            return number
    if node.op_type not in POINTWISE:
        return None
    pixels = graph.pixels(node.output[0])
    for number in sorted(before, reverse=True):
        launch = found[number]
        alike = graph.pixels(launch.nodes[-1].output[0]) == pixels
        circle = any(number in found[other].before for other in before - {number})
        if launch.kind == "pointwise" and alike and not circle:
            return number
    return None


def _convolution_takes(node: NodeProto, launch: Launch, readers: int) -> bool:
    if not launch.nodes or launch.nodes[0].op_type != "Conv" or readers > 1:
        return False
    stage = {"BatchNormalization": 1, "Add": 2}.get(node.op_type, 0)
    stage = 3 if node.op_type in ACTIVATIONS else stage
    if stage <= launch.stage:
        return False
    launch.stage = stage
    return True


def flops(launch: Launch, graph: Graph) -> int:
    """Operations of convolutions, products and attentions; pointwise ones count as none."""
    total = 0
    for node in launch.nodes:
        out = prod(graph.shapes[node.output[0]])
        if node.op_type == "Conv":
            total += 2 * out * prod(graph.shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += 2 * out * graph.shapes[node.input[0]][-1]
        elif node.op_type == ATTENTION:  # embeddings, Gram matrices, aggregation: 3, 3/2 and 4 C^2
            batch, channels, *sides = graph.shapes[node.input[0]]
            total += 2 * batch * prod(sides) * channels**2 * (6 + 3 + 4)
    return total


def traffic(launch: Launch, graph: Graph) -> int:
    """Bytes that a launch reads and writes: what other launches or the host know of."""
    made = {name for node in launch.nodes for name in node.output}
    read = {name for node in launch.nodes for name in node.input} - made
    within = Counter(name for node in launch.nodes for name in node.input)
    left = {name for name in made if graph.readers[name] > within[name]}
    return sum(map(graph.size, read | left))


def least_s(launch: Launch, graph: Graph, rate: float, bandwidth: float) -> float:
    """The least time of a launch on a device of these rates."""
    return max(flops(launch, graph) / rate, traffic(launch, graph) / bandwidth)


def main() -> None:
    """Prints the launches of each ONNX by kind, and the least times of the devices."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("onnx", type=Path, nargs="+")
    parser.add_argument("--size", default="480x640", help="height x width, multiples of 32")
    parser.add_argument("--native", action="store_true", help="without our plugin")
    parser.add_argument("--layers", action="store_true", help="a line for each launch")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    for path in args.onnx:
        graph = Graph(onnx.load(path), height, width, native=args.native)
        _report(path.name, launches(graph), graph, layers=args.layers)


def _report(name: str, found: list[Launch], graph: Graph, *, layers: bool) -> None:
    count = sum(launch.launches for launch in found)
    arithmetic, moved = (sum(of(each, graph) for each in found) for of in (flops, traffic))
    kinds = Counter[str]()
    for launch in found:
        kinds[launch.kind] += launch.launches
    print(f"{name}: {count} launches, {arithmetic / 1e9:.2f} GFLOP, {moved / 1e6:.0f} MB")
    print("  " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()))
    for device, rates in DEVICES.items():
        times = [(least_s(each, graph, *rates), LAUNCH_S * each.launches) for each in found]
        least, started = sum(each[0] for each in times), sum(max(each) for each in times)
        each_us = f"{LAUNCH_S * 1e6:.0f} us a launch"
        print(f"  {device}: {1e3 * least:.2f} ms; {1e3 * started:.2f} with {each_us}")
    for launch in found if layers else ():
        last = launch.nodes[-1].output[0]
        work = f"{flops(launch, graph) / 1e6:9.1f} MFLOP {traffic(launch, graph) / 1e6:8.2f} MB"
        print(f"    {launch.kind:<20} {len(launch.nodes):3} nodes {work} {last}")


if __name__ == "__main__":
    main()
