"""More small networks of this folder: operators that PyTorch's exporters seldom write (decision 0044).

    pip install torch onnx onnxruntime onnxscript
    python make_more.py
"""

import os
import warnings

import numpy as np
import onnx
from make import HERE, Parts, record
from onnx import TensorProto, helper, numpy_helper


def orders():
    """What is largest, sorted or rounded; shapes by scales; products of three factors; frames of a signal."""
    rng = np.random.default_rng(12)
    p = Parts()
    c, w = p.const, lambda *shape: p.weight(rng.normal(size=shape) * 0.5)
    for out in p.op("TopK", "x", c(np.array([3])), n=2, axis=1):
        p.keep(p.op("Cast", out, to=TensorProto.FLOAT))
    p.keep(p.op("TopK", "x", c(np.array([2])), n=2, largest=0)[0])
    rounded = p.op("Round", "x")
    for op in ["ArgMax", "ArgMin"]:
        p.keep(p.op("Cast", p.op(op, rounded, axis=2, select_last_index=1), to=TensorProto.FLOAT))
    p.keep(p.op("Hardmax", rounded))
    p.keep(p.op("Shrink", "x", lambd=0.4, bias=0.2))
    p.keep(p.op("Shrink", "x", lambd=-0.4, bias=0.2))
    p.keep(p.op("LpNormalization", p.op("Relu", p.op("Sub", "x", c(np.array(3.0, np.float32)))), axis=1))
    infinite = p.op("Div", "x", p.op("Relu", "x"))
    p.keep(p.op("Cast", p.op("IsInf", infinite, detect_positive=0), to=TensorProto.FLOAT))
    image = p.op("Reshape", "x", c(np.array([2, 1, 5, 7])))
    for mode in ["nearest", "linear", "cubic"]:
        # 5 and 7 times 0.6 and 1.7 are no whole sizes.
        p.keep(p.op("Resize", image, "", c(np.array([1, 1, 0.6, 1.7], np.float32)), mode=mode))
    p.keep(p.op("Resize", image, "", c(np.array([1, 1, 0.6, 0.6], np.float32)), mode="linear", exclude_outside=0, coordinate_transformation_mode="align_corners"))
    p.keep(p.op("Resize", image, "", c(np.array([1, 1, 0.6, 0.6], np.float32)), mode="cubic", exclude_outside=1))
    p.keep(p.op("Einsum", "x", w(5, 4), w(4, 3), n=1, equation="bij,ik,kl->blj"))
    p.keep(p.op("Einsum", "x", w(7, 2), n=1, equation="...j,jk->...k"))
    w_rnn, r_rnn, b_rnn = w(2, 3, 7), w(2, 3, 3), w(2, 6)
    for out in p.op("RNN", "x", w_rnn, r_rnn, b_rnn, n=2, hidden_size=3, direction="bidirectional"):
        p.keep(out)
    p.keep(p.op("RNN", "x", w(1, 3, 7), w(1, 3, 3), n=2, hidden_size=3, activations=["Relu"])[1])
    signal = p.op("Reshape", "x", c(np.array([2, 35, 1])))
    p.keep(p.op("STFT", signal, c(np.array(4)), c(np.hanning(10).astype(np.float32))))
    p.keep(p.op("STFT", signal, c(np.array(5)), "", c(np.array(8)), onesided=0))
    path = p.save("orders", [("x", TensorProto.FLOAT, [2, 5, 7])])
    record(path, {"x": rng.normal(size=(2, 5, 7)).astype(np.float32)})


def windows():
    """Pools with gaps and over three axes, of norms, and transposed convolutions whose padding follows from a size."""
    rng = np.random.default_rng(13)
    p = Parts()
    w = lambda *shape: p.weight(rng.normal(size=shape) * 0.5)
    p.keep(p.op("MaxPool", "x", kernel_shape=[2, 3], dilations=[2, 1], strides=[1, 2], pads=[0, 1, 0, 1]))
    p.keep(p.op("LpPool", "x", kernel_shape=[2, 2], strides=[2, 2], p=2))
    p.keep(p.op("LpPool", "x", kernel_shape=[3, 2], p=1, pads=[1, 0, 1, 1]))
    deep = p.op("Reshape", "x", p.const(np.array([2, 1, 3, 6, 8])))
    p.keep(p.op("MaxPool", deep, kernel_shape=[2, 2, 3], strides=[1, 2, 2], ceil_mode=1))
    for inside in [0, 1]:
        p.keep(p.op("AveragePool", deep, kernel_shape=[2, 3, 2], strides=[1, 2, 3], pads=[1, 0, 1, 0, 1, 1], count_include_pad=inside))
    p.keep(p.op("ConvTranspose", "x", w(3, 2, 3, 4), auto_pad="SAME_UPPER", strides=[2, 3]))
    p.keep(p.op("ConvTranspose", "x", w(3, 2, 3, 4), auto_pad="SAME_LOWER", strides=[2, 2]))
    p.keep(p.op("ConvTranspose", "x", w(3, 1, 3, 3), w(1), output_shape=[12, 16], strides=[2, 2], output_padding=[1, 1]))
    p.keep(p.op("ConvTranspose", deep, w(1, 2, 2, 3, 2), w(2), strides=[1, 2, 1], pads=[0, 1, 0, 0, 0, 1]))
    grid = p.op("Tanh", w(2, 4, 5, 2))
    for mode, outside, aligned in [("bilinear", "zeros", 0), ("bilinear", "border", 1), ("bilinear", "reflection", 0), ("nearest", "zeros", 1)]:
        wide = p.op("Mul", grid, p.const(np.array(1.6, np.float32)))
        p.keep(p.op("GridSample", "x", wide, mode=mode, padding_mode=outside, align_corners=aligned))
    path = p.save("windows", [("x", TensorProto.FLOAT, ["n", 3, 6, 8])])
    record(path, {"x": rng.normal(size=(2, 3, 6, 8)).astype(np.float32)})


def quantised():
    """8-bit integers: quantised ahead, while it runs, and as operators of integers."""
    rng = np.random.default_rng(14)
    p = Parts()
    c = p.const
    f = lambda v: c(np.asarray(v, np.float32))
    u8, i8 = lambda v: c(np.asarray(v, np.uint8)), lambda v: c(np.asarray(v, np.int8))
    held = lambda name, a: p.initialisers.append((name, a)) or name
    x = p.op("DequantizeLinear", p.op("QuantizeLinear", "x", f(0.03), u8(120)), f(0.03), u8(120))
    filters = held("filters", rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8))
    scales = held("filters.scale", rng.uniform(0.002, 0.02, 4).astype(np.float32))
    w = p.op("DequantizeLinear", filters, scales, held("filters.zero", np.zeros(4, np.int8)), axis=0)
    bias = p.op("DequantizeLinear", held("bias", rng.integers(-900, 900, 4).astype(np.int32)), f(0.001))
    y = p.op("Conv", x, w, bias, pads=[1, 1, 1, 1])
    p.keep(y)
    q = p.op("QuantizeLinear", y, f(0.05), i8(-3))
    p.keep(p.op("DequantizeLinear", p.op("MaxPool", q, kernel_shape=[2, 2], strides=[2, 2]), f(0.05), i8(-3)))
    rows = p.op("Reshape", "x", c(np.array([6, 20])))
    matrix = held("matrix", rng.integers(-127, 128, (20, 5)).astype(np.int8))
    quick, scale, zero = p.op("DynamicQuantizeLinear", rows, n=3)
    product = p.op("MatMulInteger", quick, matrix, zero)
    p.keep(p.op("Mul", p.op("Cast", product, to=TensorProto.FLOAT), p.op("Mul", scale, f(0.01))))
    p.keep(p.op("MatMul", rows, p.op("DequantizeLinear", matrix, f(0.01), i8(2))))
    quick, scale, zero = p.op("DynamicQuantizeLinear", "x", n=3)
    sums = p.op("ConvInteger", quick, held("small", rng.integers(0, 255, (2, 3, 2, 2)).astype(np.uint8)), zero, u8(128), pads=[1, 0, 0, 1])
    p.keep(p.op("Mul", p.op("Cast", sums, to=TensorProto.FLOAT), p.op("Mul", scale, f(0.01))))
    xq = p.op("QuantizeLinear", "x", f(0.03), u8(120))
    conv = p.op("QLinearConv", xq, f(0.03), u8(120), filters, scales, i8([0] * 4), f(0.1), u8(128), held("whole", rng.integers(-500, 500, 4).astype(np.int32)))
    p.keep(p.op("DequantizeLinear", conv, f(0.1), u8(128)))
    rq = p.op("QuantizeLinear", rows, f(0.03), u8(120))
    product = p.op("QLinearMatMul", rq, f(0.03), u8(120), held("whole.matrix", rng.integers(0, 255, (20, 3)).astype(np.uint8)), f(0.02), u8(100), f(0.2), u8(127))
    p.keep(p.op("DequantizeLinear", product, f(0.2), u8(127)))
    # onnxruntime's own operators.
    ours = lambda op, *inputs, **more: p.keep(p.op("DequantizeLinear", p.op(op, *inputs, domain="com.microsoft", **more), f(0.05), u8(128)))
    positive = p.op("QuantizeLinear", p.op("Relu", "x"), f(0.02), u8(0))
    a, b, result = [xq, f(0.03), u8(120)], [positive, f(0.02), u8(0)], [f(0.05), u8(128)]
    ours("QLinearAdd", *a, *b, *result)
    ours("QLinearMul", *a, *b, *result)
    ours("QLinearConcat", *result, *a, *b, axis=1)
    ours("QLinearGlobalAveragePool", *a, *result)
    ours("QLinearAveragePool", *a, *result, kernel_shape=[2, 2], strides=[1, 2])
    ours("QLinearSigmoid", *a, *result)
    ours("QLinearLeakyRelu", *a, *result, alpha=0.2)
    ours("QGemm", rq, f(0.03), u8(120), matrix, f(0.01), i8(0), held("whole.bias", rng.integers(-900, 900, 5).astype(np.int32)), *result)
    path = p.save("quantised", [("x", TensorProto.FLOAT, [2, 3, 4, 5])])
    record(path, {"x": rng.normal(size=(2, 3, 4, 5)).astype(np.float32)})


def choices():
    """`If` whose condition only a run knows; constants that are weights; sizes that are called `?`."""
    rng = np.random.default_rng(15)
    t = lambda name, shape=None: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    n = helper.make_node
    const = lambda name, v: n("Constant", [], [name], value=numpy_helper.from_array(np.asarray(v)))
    # Names inside one graph are free in the other.
    hidden = lambda name, seed: [const("hidden", np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)), n("MatMul", ["pooled", "hidden"], [name])]
    yes = helper.make_graph(hidden("yes", 1), "yes", [], [t("yes")])
    no = helper.make_graph([*hidden("half", 2), n("Neg", ["half"], ["no"])], "no", [], [t("no")])
    nodes = [
        const("filters", rng.normal(size=(6, 2, 3, 3)).astype(np.float32) * 0.3), const("filters.bias", rng.normal(size=6).astype(np.float32)),
        n("Conv", ["x", "filters", "filters.bias"], ["c"]),
        *[const(f"norm.{i}", v.astype(np.float32)) for i, v in enumerate([rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2, 6)])],
        n("BatchNormalization", ["c", "norm.0", "norm.1", "norm.2", "norm.3"], ["normed"]),
        const("two", np.array([1, 1, 2, 0.5], np.float32)),
        n("Resize", ["normed", "", "two"], ["wide"], mode="nearest", coordinate_transformation_mode="asymmetric"),
        n("GlobalAveragePool", ["wide"], ["mean"]), n("Flatten", ["mean"], ["pooled"]),
        n("ReduceMean", ["pooled"], ["all"], keepdims=1), const("zero", np.array([[100.0]], np.float32)),
        n("Less", ["all", "zero"], ["is_small"]),
        n("If", ["is_small"], ["y"], then_branch=yes, else_branch=no),
    ]
    graph = helper.make_graph(nodes, "choices", [t("x", ["?", 2, "?", "?"])], [t("y")])
    path = os.path.join(HERE, "choices.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    record(path, {"x": rng.normal(size=(2, 2, 6, 9)).astype(np.float32)})


def heads():
    """Attention and rotary positions as operators of opset 23."""
    rng = np.random.default_rng(16)
    p = Parts()
    w = lambda *shape: p.weight(rng.normal(size=shape))
    q, k, v = w(2, 4, 5, 8), w(2, 2, 5, 8), w(2, 2, 5, 6)
    scaled = p.op("Mul", "x", q)
    p.keep(p.op("Attention", scaled, k, v, is_causal=1))
    p.keep(p.op("Attention", scaled, k, v, p.const(rng.uniform(size=(5, 5)) < 0.7), softcap=2.0))
    p.keep(p.op("Attention", scaled, k, v, w(1, 1, 5, 5), scale=0.3))
    joined = p.op("Attention", w(2, 5, 32), w(2, 7, 32), w(2, 7, 24), q_num_heads=4, kv_num_heads=4)
    p.keep(p.op("Mul", joined, p.op("ReduceMean", "x")))
    for out in p.op("Attention", scaled, k, v, "", w(2, 2, 3, 8), w(2, 2, 3, 6), n=3, is_causal=1):
        p.keep(out)
    cosines, sines = w(9, 4), w(9, 4)
    positions = p.const(rng.integers(0, 9, (2, 5)))
    p.keep(p.op("RotaryEmbedding", scaled, cosines, sines, positions))
    p.keep(p.op("RotaryEmbedding", scaled, w(2, 5, 3), w(2, 5, 3), rotary_embedding_dim=6, interleaved=1))
    path = p.save("heads", [("x", TensorProto.FLOAT, [2, 4, 5, 8])], opset=23)
    record(path, {"x": rng.normal(size=(2, 4, 5, 8)).astype(np.float32)})


def fused():
    """What onnxruntime makes of transformers."""
    rng = np.random.default_rng(17)
    p = Parts()
    w = lambda *shape: p.weight(rng.normal(size=shape) * 0.4)
    op = lambda op, *inputs, **more: p.op(op, *inputs, domain="com.microsoft", **more)
    whole = lambda v: p.const(np.asarray(v, np.int32))
    mask = whole([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    p.keep(op("Attention", "x", w(12, 36), w(36), mask, num_heads=3))
    p.keep(op("Attention", "x", w(12, 36), w(36), whole([5, 3]), num_heads=4, scale=0.3))
    p.keep(op("Attention", "x", w(12, 36), w(36), num_heads=2, unidirectional=1))
    keys, values = w(2, 7, 12), w(2, 7, 12)
    padding = whole([[1] * 7, [1] * 4 + [0] * 3])
    p.keep(op("MultiHeadAttention", "x", keys, values, w(36), padding, num_heads=3))
    p.keep(op("MultiHeadAttention", "x", keys, values, "", "", w(1, 3, 5, 7), num_heads=3))
    p.keep(op("BiasGelu", "x", w(12)))
    p.keep(op("FastGelu", "x", w(12)))
    p.keep(op("QuickGelu", "x", alpha=1.5))
    p.keep(op("FusedMatMul", "x", w(2, 4, 12), transB=1, alpha=0.5))
    for out in op("SkipLayerNormalization", "x", w(2, 5, 12), w(12), w(12), w(12), n=4, epsilon=1e-5)[::3]:
        p.keep(out)
    p.keep(op("SkipSimplifiedLayerNormalization", "x", w(2, 5, 12), w(12)))
    ids, segments = whole(rng.integers(0, 20, (2, 5))), whole(rng.integers(0, 2, (2, 5)))
    embedded, count = op("EmbedLayerNormalization", ids, segments, w(20, 12), w(9, 12), w(2, 12), w(12), w(12), mask, n=2, epsilon=1e-6)
    p.keep(p.op("Add", "x", embedded))
    p.keep(count, cast=True)
    # Its weight is no initialiser, and keys are wider than values.
    weight = p.const((rng.normal(size=(12, 30)) * 0.4).astype(np.float32))
    p.keep(op("Attention", "x", weight, w(30), num_heads=3, qkv_hidden_sizes=[12, 12, 6]))
    path = p.save("fused", [("x", TensorProto.FLOAT, [2, 5, 12])])
    record(path, {"x": rng.normal(size=(2, 5, 12)).astype(np.float32)})


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    for make in [orders, windows, quantised, choices, heads, fused]:
        make()
