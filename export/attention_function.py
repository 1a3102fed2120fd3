"""
HIA without our plugin: the body of `segmif::InteractiveAttention`, an ONNX local function.

ONNX Runtime runs this body, and so does TensorRT if our plugin is not loaded. It is
`segmif.ops.hia.gram` line by line. Sums and softmax are in FP32 for any type of input.
"""

import onnx

OPSET = 18  # what TensorRT 10.3 (JetPack 6) reads

_HEADER = f"""
<domain: "segmif", opset_import: ["" : {OPSET}]>
InteractiveAttention <epsilon> (
    visible, infrared, semantic, embed_weight, embed_bias, key_weight, value_weight,
    temperature, out_weight, out_bias, norm_weight, norm_bias
) => (refined_visible, refined_infrared)
"""

_SHARED = """
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    two = Constant <value_int = 2> ()
    rest = Constant <value_ints = [-1]> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    axes_12 = Constant <value_ints = [1, 2]> ()
    axes_23 = Constant <value_ints = [2, 3]> ()
    epsilon_value = Constant <value_float: float = @epsilon> ()
    heads = Shape <start = 1, end = 2> (temperature)
    channels = Shape <start = 1, end = 2> (key_weight)
    by_head = Concat <axis = 0> (heads, rest, channels)
    columns_by_head = Concat <axis = 0> (channels, heads, rest)
    map_shape = Shape (visible)
    batch = Shape <start = 0, end = 1> (visible)
    tokens_shape = Concat <axis = 0> (batch, channels, rest)
    size = Shape <start = 2, end = 4> (visible)
    area = ReduceProd (size, axis_0)
    area_float = Cast <to = 1> (area)
"""

# {m}: name of the map, {i}: its position in the stacked parameters
_EMBED = """
    {m}_w = Gather <axis = 0> (embed_weight, {i})
    {m}_kernel = Unsqueeze ({m}_w, axes_23)
    {m}_b = Gather <axis = 0> (embed_bias, {i})
    {m}_embedded = Conv ({m}, {m}_kernel, {m}_b)
    {m}_positive = Relu ({m}_embedded)
    {m}_y_map, {m}_u_map = Split <axis = 1, num_outputs = 2> ({m}_positive)
    {m}_y = Reshape ({m}_y_map, tokens_shape)
    {m}_u = Reshape ({m}_u_map, tokens_shape)
"""

# {t}: the token set that keys and values come from
_ATTEND = """
    {m}_tokens = Cast <to = 1> ({t})
    {m}_turned = Transpose <perm = [0, 2, 1]> ({m}_tokens)
    {m}_sum = MatMul ({m}_tokens, {m}_turned)
    {m}_gram = Div ({m}_sum, area_float)
    {m}_gram_4d = Unsqueeze ({m}_gram, axis_1)
    {m}_wk = Gather <axis = 0> (key_weight, {i})
    {m}_wk_float = Cast <to = 1> ({m}_wk)
    {m}_key = Reshape ({m}_wk_float, by_head)
    {m}_wv = Gather <axis = 0> (value_weight, {i})
    {m}_wv_float = Cast <to = 1> ({m}_wv)
    {m}_value = Reshape ({m}_wv_float, by_head)
    {m}_value_turned = Transpose <perm = [0, 2, 1]> ({m}_value)
    {m}_half = MatMul ({m}_key, {m}_gram_4d)
    {m}_context = MatMul ({m}_half, {m}_value_turned)
    {m}_t = Gather <axis = 0> (temperature, {i})
    {m}_t_float = Cast <to = 1> ({m}_t)
    {m}_t_3d = Unsqueeze ({m}_t_float, axes_12)
    {m}_logits = Mul ({m}_context, {m}_t_3d)
    {m}_attention = Softmax <axis = 2> ({m}_logits)
    {m}_looks = Transpose <perm = [0, 1, 3, 2]> ({m}_attention)
"""

# {part}: which half of [Z, A], {a}: whose attention
_AGGREGATE = """
    {m}_{part}_by_head = Reshape ({m}_{part}_float, columns_by_head)
    {m}_{part}_turned = Transpose <perm = [1, 0, 2]> ({m}_{part}_by_head)
    {m}_{part}_product = MatMul ({m}_{part}_turned, {a}_looks)
    {m}_{part}_product_turned = Transpose <perm = [0, 2, 1, 3]> ({m}_{part}_product)
    {m}_{part}_wide = Reshape ({m}_{part}_product_turned, tokens_shape)
    {m}_{part}_matrix = CastLike ({m}_{part}_wide, {m})
"""

_REFINE = """
    {m}_wo = Gather <axis = 0> (out_weight, {i})
    {m}_wo_float = Cast <to = 1> ({m}_wo)
    {m}_z_float, {m}_a_float = Split <axis = 1, num_outputs = 2> ({m}_wo_float)
    {aggregate_z}
    {aggregate_a}
    {m}_z = MatMul ({m}_z_matrix, semantic_y)
    {m}_a = MatMul ({m}_a_matrix, {m}_u)
    {m}_looked_up = Add ({m}_z, {m}_a)
    {m}_looked_up_map = Reshape ({m}_looked_up, map_shape)
    {m}_bo = Gather <axis = 0> (out_bias, {i})
    {m}_bo_3d = Unsqueeze ({m}_bo, axes_12)
    {m}_with_bias = Add ({m}_looked_up_map, {m}_bo_3d)
    {m}_residual = Add ({m}, {m}_with_bias)
    {m}_wide = Cast <to = 1> ({m}_residual)
    {m}_mean = ReduceMean ({m}_wide, axis_1)
    {m}_centred = Sub ({m}_wide, {m}_mean)
    {m}_square = Mul ({m}_centred, {m}_centred)
    {m}_variance = ReduceMean ({m}_square, axis_1)
    {m}_safe = Add ({m}_variance, epsilon_value)
    {m}_deviation = Sqrt ({m}_safe)
    {m}_normal_wide = Div ({m}_centred, {m}_deviation)
    {m}_normal = CastLike ({m}_normal_wide, {m})
    {m}_gamma = Gather <axis = 0> (norm_weight, {i})
    {m}_gamma_3d = Unsqueeze ({m}_gamma, axes_12)
    {m}_scaled = Mul ({m}_normal, {m}_gamma_3d)
    {m}_beta = Gather <axis = 0> (norm_bias, {i})
    {m}_beta_3d = Unsqueeze ({m}_beta, axes_12)
    refined_{m} = Add ({m}_scaled, {m}_beta_3d)
"""


def local_function() -> onnx.FunctionProto:
    """
    The body of `segmif::InteractiveAttention`; inputs, outputs and formulas as in `segmif.ops`.
    """
    maps = {"visible": "zero", "infrared": "one", "semantic": "two"}
    body = _SHARED + "".join(_EMBED.format(m=name, i=i) for name, i in maps.items())
    for name, i in maps.items():
        tokens = "semantic_u" if name == "semantic" else f"{name}_y"
        body += _ATTEND.format(m=name, i=i, t=tokens)
    for name in ("visible", "infrared"):
        body += _REFINE.format(
            m=name,
            i=maps[name],
            aggregate_z=_AGGREGATE.format(m=name, part="z", a=name),
            aggregate_a=_AGGREGATE.format(m=name, part="a", a="semantic"),
        )
    return onnx.parser.parse_function(_HEADER + "{" + body + "}")
