"""Launches by rules: small graphs whose kernels are known, and our networks."""

from pathlib import Path

import onnx
import onnx.parser
import pytest

from benchmarks.gpu.launches import ATTENTION, OURS, Graph, flops, launches, traffic

WEIGHTS = Path(__file__).parents[3] / "weights"


MODEL = """
<ir_version: 9, opset_import: ["" : 18]>
g ({kind}[1, 16, 16, 16] x, {kind}[16, 16, 3, 3] w, {kind}[16, 1, 1] slope)
=> ({kind}[1, 16, 16, 16] y) {{{body}}}
"""
CONV = "Conv <pads = [1, 1, 1, 1]>"
POOL = "MaxPool <kernel_shape = [1, 1]>"


def graph_of(body: str, kind: str = "float") -> Graph:
    return Graph(onnx.parser.parse_model(MODEL.format(body=body, kind=kind)), 16, 16)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"a = {CONV} (x, w) y = Relu (a)", "Conv"),
        (f"a = {CONV} (x, w) b = Add (a, x) y = Relu (b)", "Conv"),
        (f"a = {CONV} (x, w) y = PRelu (a, slope)", "Conv pointwise"),
        (f"a = {CONV} (x, w) b = Relu (a) y = Add (b, x)", "Conv pointwise"),
        (f"a = {CONV} (x, w) b = Relu (a) y = Add (a, b)", "Conv pointwise"),  # a is read twice
        ("a = Exp (x) b = Sqrt (a) y = Mul (a, b)", "pointwise"),
        ("s = Shape (x) a = Exp (x) y = Reshape (a, s)", "pointwise"),
        # the greatest value lies between both halves: they cannot be one
        ("a = Exp (x) m = ReduceMax (a) y = Div (a, m)", "pointwise ReduceMax pointwise"),
        (f"a = {POOL} (x) y = Exp (a)", "MaxPool pointwise"),
        # joined in place, if kernels write both
        (
            f"a = {CONV} (x, w) b = {CONV} (a, w) c = Concat <axis = 1> (a, b) y = {POOL} (c)",
            "Conv Conv MaxPool",
        ),
        (f"c = Concat <axis = 1> (x, x) y = {POOL} (c)", "Concat MaxPool"),
    ],
)
def test_what_is_fused(body: str, found: str) -> None:
    assert [launch.kind for launch in launches(graph_of(body))] == found.split()


def test_a_layers_work_and_traffic() -> None:
    graph = graph_of(f"a = {CONV} (x, w) y = Relu (a)", "float16")
    (launch,) = launches(graph)
    assert flops(launch, graph) == 2 * 16 * 16 * 9 * 16 * 16
    assert traffic(launch, graph) == 2 * (2 * 16 * 16 * 16 + 16 * 16 * 9)


def test_every_attention_of_ours_is_counted() -> None:
    for name in ("nano", "edge"):
        model = onnx.load(WEIGHTS / f"{name}.onnx")
        found = launches(Graph(model, 64, 96))
        counted = [each for each in found if each.kind == "InteractiveAttention"]
        assert [each.launches for each in counted] == [OURS[ATTENTION]] * 2
        native = launches(Graph(model, 64, 96, native=True))
        assert len(native) > sum(each.launches for each in found)


PIXELS = """
<ir_version: 9, opset_import: ["" : 18, "segmif" : 1]>
g (uint8[1, 16, 16] x) => (uint8[1, 16, 16] fused, uint8[1, 16, 16] y, uint8[1, 16, 16] sure) {
    a = Cast <to = 1> (x)
    f, l, c = segmif.Pixels <label_stride = 1> (a, a, a, a, a)
    fused = Cast <to = 2> (f)
    y = Cast <to = 2> (l)
    sure = Cast <to = 2> (c)
}
<domain: "segmif", opset_import: ["" : 18]>
Pixels <label_stride> (a, b, c, d, e) => (x, y, z) { x = Exp (a) y = Exp (b) z = Exp (c) }
"""


def test_the_last_pixels_are_two_launches_and_their_bytes_three() -> None:
    found = launches(Graph(onnx.parser.parse_model(PIXELS), 16, 16))
    counted = [(each.kind, each.launches) for each in found]
    assert counted == [("pointwise", 1), ("Pixels", 2), *[("pointwise", 1)] * 3]
