"""What of a network is known before it runs, computed once and for all."""

import numpy as np
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


def fold(model: ModelProto) -> ModelProto:
    """
    The same network; nodes that read nothing but constants have become constants themselves.

    TensorRT 8 takes a kernel that a node picks out of the weights for one that changes, which it
    convolves by other means, before 8.5 not at all. Nodes that quantize stay: they say what runs
    in INT8.
    """
    graph = model.graph
    opsets = {each.domain: each.version for each in model.opset_import}
    known = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    given, kept = set(known), []
    for node in graph.node:
        constant = all(name in known for name in node.input if name)
        if constant and node.op_type not in QUANTIZING:
            inputs = {name: known[name] for name in node.input if name}
            answers = ReferenceEvaluator(node, opsets=opsets).run(None, inputs)
            known |= {n: np.asarray(a) for n, a in zip(node.output, answers, strict=True)}
        else:
            kept.append(node)
    read = {name for node in kept for name in node.input}
    constants = [each for each in graph.initializer if each.name in read]
    constants += [
        numpy_helper.from_array(known[name], name) for name in known if name in read - given
    ]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
    return model
