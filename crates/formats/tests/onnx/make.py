"""Makes the small networks of this folder, and beside each what onnxruntime answers and PyTorch differentiates.

    pip install torch onnx onnxruntime onnxscript
    python make.py

`cargo xtask onnx DIR` and `xtask/tests/onnx.rs` compare.  `record` serves for networks of any size.
"""

import json
import os
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
RNG = np.random.default_rng(0)


def record(path, feed, module=None, args=(), fixed=None):
    """Runs a network and writes its inputs and first output beside it; with a module, the gradients' norms too."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.run(None, feed)[0].astype(np.float32)
    blob, inputs = b"", []
    for name, value in feed.items():
        is_float = value.dtype.kind == "f"
        value = value.astype(np.float32 if is_float else np.int64)
        inputs.append(
            {"name": name, "shape": list(value.shape), "dtype": "f32" if is_float else "i64", "offset": len(blob)}
        )
        blob += value.tobytes()
    meta = {"inputs": inputs, "output": {"shape": list(output.shape), "offset": len(blob)}, "fixed": fixed or {}}
    blob += output.tobytes()
    if module is not None:
        module.zero_grad()
        rows = module(*args)
        rows = rows.reshape(-1, rows.shape[-1])
        labels = torch.arange(rows.shape[0]) % rows.shape[1]
        torch.nn.functional.cross_entropy(rows, labels).backward()
        meta["grads"] = gradients(path, module)
    stem = path.removesuffix(".onnx")
    with open(stem + ".bin", "wb") as file:
        file.write(blob)
    with open(stem + ".json", "w") as file:
        json.dump(meta, file)


def gradients(path, module):
    """Norms by initialiser: of the same name, or, where the exporter renamed it, of the same numbers.

    A convolution that swallowed a batch norm has each output channel multiplied by a number; the gradient divides by it.
    """
    norms = {}
    # A direction and a length are not the weight that is made of them, though the numbers may be the same.
    params = [(name, p) for name, p in module.named_parameters() if p.grad is not None and ".parametrizations." not in name]
    for tensor in onnx.load(path).graph.initializer:
        values = numpy_helper.to_array(tensor)
        for name, p in params:
            mine = p.detach().numpy()
            same = mine.shape == values.shape and np.array_equal(mine, values)
            turned = mine.ndim == 2 and mine.T.shape == values.shape and np.array_equal(mine.T, values)
            scales = None if same or turned else folded(mine, values)
            if same or turned or scales is not None:
                grad = p.grad.double() if scales is None else p.grad.double() / torch.from_numpy(scales)
                norms[tensor.name] = float(grad.norm())
    return norms


def folded(mine, values):
    """The number that each output channel of a convolution was multiplied by, if nothing else happened to it."""
    # A single number is a multiple of any other.
    if mine.ndim != 4 or mine.shape != values.shape or mine[0].size == 1:
        return None
    rows, theirs = mine.reshape(len(mine), -1).astype(np.float64), values.reshape(len(mine), -1).astype(np.float64)
    scales = (rows * theirs).sum(1) / np.maximum((rows * rows).sum(1), 1e-30)
    is_scaled = np.abs(rows * scales[:, None] - theirs).max() <= 1e-5 * np.abs(theirs).max() and np.abs(scales).min() > 1e-3
    return scales.reshape(-1, 1, 1, 1) if is_scaled else None


def save(name, nodes, inputs, n_outputs=1, opset=17, initialisers=(), output=("y", None)):
    """A graph of hand-made nodes."""
    ins = [helper.make_tensor_value_info(n, t, shape) for n, t, shape in inputs]
    out = helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])
    graph = helper.make_graph(nodes, name, ins, [out], [numpy_helper.from_array(a, n) for n, a in initialisers])
    domains = sorted({n.domain for n in nodes} - {""})
    opsets = [helper.make_opsetid("", opset), *[helper.make_opsetid(d, 1) for d in domains]]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = os.path.join(HERE, name + ".onnx")
    onnx.save(model, path)
    return path


class Parts:
    """Collects nodes whose results are flattened and joined, so that one network tries many operators."""

    def __init__(self):
        self.nodes, self.parts, self.n, self.initialisers = [], [], 0, []

    def name(self):
        self.n += 1
        return f"v{self.n}"

    def const(self, value):
        name = self.name()
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value))))
        return name

    def weight(self, value):
        name = f"weight.{self.name()}"
        self.initialisers.append((name, np.asarray(value, np.float32)))
        return name

    def op(self, op, *inputs, n=1, **attributes):
        names = [self.name() for _ in range(n)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{self.n}", **attributes))
        return names[0] if n == 1 else names

    def keep(self, value, cast=False):
        if cast:
            value = self.op("Cast", value, to=TensorProto.FLOAT)
        self.parts.append(self.op("Reshape", value, self.const(np.array([-1]))))

    def save(self, name, inputs, opset=17):
        self.nodes.append(helper.make_node("Concat", self.parts, ["y"], axis=0))
        # The harness takes rows: [1, all].
        self.nodes[-1].output[0] = "flat"
        self.nodes.append(helper.make_node("Unsqueeze", ["flat", self.const(np.array([0]))], ["y"]))
        self.nodes.sort(key=lambda n: n.op_type != "Constant")
        return save(name, self.nodes, inputs, opset=opset, initialisers=self.initialisers)


def unary():
    p = Parts()
    for op in "Neg Abs Sign Exp Erf Sin Cos Tan Atan Sinh Cosh Asinh Floor Ceil Round Softplus Softsign Mish HardSwish Relu Sigmoid Tanh".split():
        p.keep(p.op(op, "x"))
    half = p.op("Clip", "x", p.const(np.float32(-0.9)), p.const(np.float32(0.9)))
    for op in "Asin Acos Atanh".split():
        p.keep(p.op(op, half))
    positive = p.op("Exp", half)
    for op in "Log Sqrt Reciprocal".split():
        p.keep(p.op(op, positive))
    p.keep(p.op("Acosh", p.op("Add", positive, p.const(np.float32(1.0)))))
    p.keep(p.op("HardSigmoid", "x", alpha=0.3, beta=0.4))
    p.keep(p.op("Elu", "x", alpha=0.7))
    p.keep(p.op("Selu", "x"))
    p.keep(p.op("Celu", "x", alpha=1.7))
    p.keep(p.op("LeakyRelu", "x", alpha=0.2))
    p.keep(p.op("ThresholdedRelu", "x", alpha=0.3))
    p.keep(p.op("Pow", "x", p.const(np.float32(3.0))))
    p.keep(p.op("Not", p.op("IsNaN", "x")), cast=True)
    p.keep(p.op("Softmax", "x", axis=1))
    p.keep(p.op("LogSoftmax", "x", axis=0))
    path = p.save("unary", [("x", TensorProto.FLOAT, ["n", 4])], opset=18)
    record(path, {"x": RNG.normal(size=(3, 4)).astype(np.float32) * 1.5})


def binary():
    p = Parts()
    column, scalar = p.weight(RNG.normal(size=(3, 1))), p.const(np.float32(0.5))
    for op in "Add Sub Mul Div".split():
        p.keep(p.op(op, "x", column))
        p.keep(p.op(op, scalar, "x"))
    p.keep(p.op("Max", "x", column, scalar))
    p.keep(p.op("Min", "x", column))
    p.keep(p.op("Sum", "x", column, "x"))
    p.keep(p.op("Mean", "x", column))
    p.keep(p.op("PRelu", "x", column))
    for op in "Equal Less LessOrEqual Greater GreaterOrEqual".split():
        p.keep(p.op(op, "x", column), cast=True)
    a, b = p.op("Less", "x", scalar), p.op("Greater", "x", column)
    for op in "And Or Xor Equal".split():
        p.keep(p.op(op, a, b), cast=True)
    p.keep(p.op("Where", a, "x", column))
    p.keep(p.op("Where", b, p.const(np.float32(2.0)), "x"))
    three = p.const(np.array([3, -3, 2, 5]))
    for op in "Add Sub Mul Div Mod Min Max".split():
        p.keep(p.op(op, "i", three), cast=True)
    p.keep(p.op("Mod", "i", three, fmod=1), cast=True)
    p.keep(p.op("Mod", "x", column, fmod=1))
    p.keep(p.op("Cast", p.op("Cast", "x", to=TensorProto.INT64), to=TensorProto.BOOL), cast=True)
    path = p.save("binary", [("x", TensorProto.FLOAT, ["n", 3, 4]), ("i", TensorProto.INT64, ["n", 4])])
    record(path, {"x": RNG.normal(size=(2, 3, 4)).astype(np.float32), "i": RNG.integers(-9, 9, size=(2, 4))})


def structure():
    p = Parts()
    c = p.const
    p.keep(p.op("Transpose", "x", perm=[2, 0, 1]))
    p.keep(p.op("Slice", "x", c(np.array([1, -1])), c(np.array([2**62, -(2**62)])), c(np.array([1, 2])), c(np.array([2, -2]))))
    p.keep(p.op("Slice", "x", c(np.array([-3])), c(np.array([-1])), c(np.array([2]))))
    for part in p.op("Split", "x", c(np.array([1, 3])), n=2, axis=2):
        p.keep(part)
    p.keep(p.op("Concat", "x", p.op("Neg", "x"), axis=-1))
    p.keep(p.op("Pad", "x", c(np.array([0, 1, 2, 0, 0, 1])), c(np.float32(7.0))))
    p.keep(p.op("Pad", "x", c(np.array([0, 0, 2, 0, 0, 3])), mode="reflect"))
    p.keep(p.op("Pad", "x", c(np.array([0, 1, 2, 0, 1, 1])), mode="edge"))
    p.keep(p.op("Pad", "x", c(np.array([0, 0, -1, 0, 0, -1]))))
    p.keep(p.op("Tile", "x", c(np.array([1, 2, 3]))))
    p.keep(p.op("Expand", p.op("Unsqueeze", "x", c(np.array([1]))), c(np.array([1, 2, 1, 1]))))
    p.keep(p.op("Trilu", "x", c(np.array(1)), upper=1))
    p.keep(p.op("Trilu", "x", upper=0))
    p.keep(p.op("CumSum", "x", c(np.array(2)), exclusive=1, reverse=1))
    p.keep(p.op("CumSum", "x", c(np.array(1))))
    p.keep(p.op("Flatten", "x", axis=2))
    p.keep(p.op("Einsum", "x", p.weight(RNG.normal(size=(3, 4, 5))), equation="bij,ijk->bk"))
    p.keep(p.op("Einsum", "x", "x", equation="bij,bkj->bik"))
    p.keep(p.op("Einsum", "x", equation="bij->jb"))
    # Shapes, computed as exporters do.
    shape = p.op("Shape", "x")
    batch = p.op("Gather", shape, c(np.array([0])), axis=0)
    rest = p.op("ReduceProd", p.op("Slice", shape, c(np.array([1])), c(np.array([9]))), keepdims=1)
    p.keep(p.op("Reshape", "x", p.op("Concat", batch, rest, axis=0)))
    p.keep(p.op("ConstantOfShape", p.op("Concat", batch, c(np.array([2])), axis=0)))
    count = p.op("Squeeze", batch, c(np.array([0])))
    p.keep(p.op("Range", c(np.array(0)), count, c(np.array(1))), cast=True)
    p.keep(p.op("Add", "x", p.op("Cast", p.op("Size", "x"), to=TensorProto.FLOAT)))
    path = p.save("structure", [("x", TensorProto.FLOAT, ["n", 3, 4])])
    record(path, {"x": RNG.normal(size=(2, 3, 4)).astype(np.float32)})


def index():
    p = Parts()
    c = p.const
    p.keep(p.op("Gather", "x", "i", axis=1))
    p.keep(p.op("Gather", "x", c(np.array(-1)), axis=2))
    p.keep(p.op("Gather", p.weight(RNG.normal(size=(5, 6))), "i"))
    p.keep(p.op("GatherElements", "x", c(RNG.integers(-4, 4, size=(2, 3, 2))), axis=2))
    p.keep(p.op("GatherND", "x", c(np.array([[1, -1], [0, 2]]))))
    p.keep(p.op("ScatterND", "x", c(np.array([[1, 0], [0, 2], [1, 0]])), p.weight(RNG.normal(size=(3, 4)))))
    p.keep(p.op("ScatterND", "x", c(np.array([[1, 0], [0, 2], [1, 0]])), p.weight(RNG.normal(size=(3, 4))), reduction="add"))
    p.keep(p.op("ArgMax", "x", axis=2, keepdims=0), cast=True)
    p.keep(p.op("ArgMin", "x", axis=1), cast=True)
    p.keep(p.op("OneHot", "i", c(np.array([3])), c(np.array([-1.0, 2.0], np.float32)), axis=1))
    for op in "ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp".split():
        p.keep(p.op(op, "x", axes=[0, 2], keepdims=0))
        p.keep(p.op(op, "x"))
    p.keep(p.op("ReduceSum", "x", c(np.array([-1])), keepdims=0))
    p.keep(p.op("ReduceSum", "i", c(np.array([0]))), cast=True)
    path = p.save("index", [("x", TensorProto.FLOAT, [2, 3, 4]), ("i", TensorProto.INT64, [2, 3])])
    record(path, {"x": RNG.normal(size=(2, 3, 4)).astype(np.float32), "i": np.array([[0, 2, -1], [1, 1, 0]])})


def images():
    p = Parts()
    c = p.const
    p.keep(p.op("Conv", "x", p.weight(RNG.normal(size=(4, 1, 3, 2))), group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]))
    p.keep(p.op("Conv", "x", p.weight(RNG.normal(size=(3, 2, 3, 3))), p.weight(RNG.normal(size=3)), auto_pad="SAME_LOWER", strides=[2, 2]))
    p.keep(p.op("ConvTranspose", "x", p.weight(RNG.normal(size=(2, 3, 3, 3))), p.weight(RNG.normal(size=3)), strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0]))
    p.keep(p.op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 1, 1, 0]))
    p.keep(p.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))
    p.keep(p.op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))
    p.keep(p.op("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_UPPER"))
    p.keep(p.op("GlobalAveragePool", "x"))
    p.keep(p.op("GlobalMaxPool", "x"))
    p.keep(p.op("LRN", "x", size=3, alpha=0.3, beta=0.6, bias=1.5))
    p.keep(p.op("InstanceNormalization", "x", p.weight(RNG.normal(size=2)), p.weight(RNG.normal(size=2))))
    p.keep(p.op("LpNormalization", "x", axis=1, p=2))
    p.keep(p.op("SpaceToDepth", "x", blocksize=2))
    p.keep(p.op("DepthToSpace", p.op("SpaceToDepth", "x", blocksize=2), blocksize=2, mode="CRD"))
    roi = c(np.array([], np.float32))
    for mode, how, sizes in [("linear", "half_pixel", [5, 11]), ("linear", "align_corners", [9, 4]), ("nearest", "asymmetric", [12, 5]), ("cubic", "half_pixel", [9, 11]), ("linear", "pytorch_half_pixel", [1, 3])]:
        more = {"nearest_mode": "floor"} if mode == "nearest" else {}
        sizes = c(np.array([1, 2, *sizes]))
        p.keep(p.op("Resize", "x", roi, c(np.array([], np.float32)), sizes, mode=mode, coordinate_transformation_mode=how, **more))
    p.keep(p.op("Resize", "x", roi, c(np.array([1, 1, 1.5, 2], np.float32)), mode="nearest"))
    line = p.op("Reshape", "x", c(np.array([1, 2, -1])))
    p.keep(p.op("Conv", line, p.weight(RNG.normal(size=(3, 2, 5))), pads=[2, 1], strides=[3]))
    p.keep(p.op("MaxPool", line, kernel_shape=[4], strides=[3]))
    p.keep(p.op("Conv", p.op("Reshape", "x", c(np.array([1, 2, 2, 4, 6]))), p.weight(RNG.normal(size=(3, 2, 2, 3, 2))), pads=[0, 1, 0, 1, 0, 0]))
    path = p.save("images", [("x", TensorProto.FLOAT, [1, 2, 8, 6])])
    record(path, {"x": RNG.normal(size=(1, 2, 8, 6)).astype(np.float32)})


def recurrent():
    p = Parts()
    w = lambda *shape: p.weight(RNG.normal(size=shape) * 0.5)
    for direction, ways in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
        for out in p.op("LSTM", "x", w(ways, 12, 4), w(ways, 12, 3), w(ways, 24), n=3, hidden_size=3, direction=direction):
            p.keep(out)
        for out in p.op("GRU", "x", w(ways, 9, 4), w(ways, 9, 3), w(ways, 18), n=2, hidden_size=3, direction=direction):
            p.keep(out)
    state, cell = w(1, 2, 3), w(1, 2, 3)
    p.keep(p.op("LSTM", "x", w(1, 12, 4), w(1, 12, 3), "", "", state, cell, n=3, hidden_size=3)[2])
    p.keep(p.op("GRU", "x", w(1, 9, 4), w(1, 9, 3), w(1, 18), "", state, n=2, hidden_size=3, linear_before_reset=1)[0])
    path = p.save("recurrent", [("x", TensorProto.FLOAT, ["steps", 2, 4])])
    record(path, {"x": RNG.normal(size=(5, 2, 4)).astype(np.float32)})


def old():
    """Opset 7: axes and bounds are attributes, softmax takes all axes from its own on."""
    n = helper.make_node
    nodes = [
        n("Slice", ["x"], ["a"], axes=[1], starts=[1], ends=[3]),
        n("Clip", ["a"], ["b"], min=-0.5, max=0.8),
        n("Pad", ["b"], ["c"], pads=[0, 0, 1, 0, 0, 1], value=0.25),
        n("Softmax", ["c"], ["d"], axis=1),
        n("Unsqueeze", ["d"], ["e"], axes=[1]),
        n("Upsample", ["e", "scales"], ["f"], mode="nearest"),
        n("ReduceSum", ["f"], ["g"], axes=[3], keepdims=0),
        n("Squeeze", ["g"], ["h"], axes=[1]),
        n("Dropout", ["h"], ["i", "mask"], ratio=0.3),
        n("Gemm", ["i", "fc.weight", "fc.bias"], ["y"], alpha=0.5, beta=2.0),
    ]
    scales = np.array([1, 1, 2, 3], np.float32)
    initialisers = [("scales", scales), ("fc.weight", RNG.normal(size=(4, 3)).astype(np.float32)), ("fc.bias", RNG.normal(size=(1, 3)).astype(np.float32))]
    nodes[5] = n("Resize", ["e", "scales"], ["f"], mode="nearest")
    path = save("old", nodes, [("x", TensorProto.FLOAT, [2, 4, 5])], opset=10, initialisers=initialisers)
    model = onnx.load(path)
    # Slice, Dropout and Resize changed in opset 10; the others are as they were in 7.
    model.graph.node[0].CopyFrom(n("Slice", ["x", "starts", "ends", "axes"], ["a"]))
    for name, value in [("starts", [1]), ("ends", [3]), ("axes", [1])]:
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    onnx.save(model, path)
    record(path, {"x": RNG.normal(size=(2, 4, 5)).astype(np.float32)})


def conditional():
    """`If` whose condition follows from a shape, a scalar input that is fixed, and a function."""
    t = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    branch = lambda op, name: helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [t(name, None)])
    const = lambda name, v: helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(v)))
    nodes = [
        const("rate", np.array(16000)),
        const("three", np.array(3)),
        const("one", np.array(1)),
        helper.make_node("Equal", ["sr", "rate"], ["is_fast"]),
        helper.make_node("If", ["is_fast"], ["a"], then_branch=branch("Neg", "t1"), else_branch=branch("Exp", "e1")),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["width"]),
        helper.make_node("Equal", ["width", "three"], ["is_three"]),
        helper.make_node("If", ["is_three"], ["b"], then_branch=branch("Abs", "t2"), else_branch=branch("Sin", "e2")),
        helper.make_node("twice", ["b"], ["c"], domain="local", by=3.0),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    times = helper.make_node("Constant", [], ["k"])
    times.attribute.append(onnx.AttributeProto(name="value_float", ref_attr_name="by", type=onnx.AttributeProto.FLOAT))
    function = helper.make_function("local", "twice", ["in"], ["out"], [times, helper.make_node("Mul", ["in", "k"], ["out"])], [helper.make_opsetid("", 17)], attributes=["by"])
    inputs = [t("x", ["n", 4]), helper.make_tensor_value_info("sr", TensorProto.INT64, [])]
    graph = helper.make_graph(nodes, "conditional", inputs, [t("y", None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    path = os.path.join(HERE, "conditional.onnx")
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8), path)
    record(path, {"x": RNG.normal(size=(2, 4)).astype(np.float32), "sr": np.array(16000)}, fixed={"sr": 16000})


def sizes():
    """A shape that is one-hot: what `repeat` of a batch becomes, as older exporters write it."""
    c = lambda name, v: helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(v)))
    n = helper.make_node
    nodes = [
        c("one", np.array([1])), c("rank", np.array([3])), c("axis", np.array([0])),
        n("Shape", ["x"], ["shape"]),
        n("Gather", ["shape", "axis"], ["batch"]),
        n("Concat", ["one", "batch"], ["values"], axis=0),
        n("OneHot", ["axis", "rank", "values"], ["hot"]),
        n("Reshape", ["hot", "rank"], ["repeats"]),
        n("Tile", ["query", "repeats"], ["queries"]),
        n("Mul", ["x", "queries"], ["y"]),
    ]
    query = np.random.default_rng(9).normal(size=(1, 3, 2)).astype(np.float32)
    path = save("sizes", nodes, [("x", TensorProto.FLOAT, ["n", 3, 2])], initialisers=[("query", query)])
    record(path, {"x": np.random.default_rng(10).normal(size=(4, 3, 2)).astype(np.float32)})


def transforms():
    """Fourier transforms, patches laid down and elements scattered, by the operators of opset 18."""
    rng = np.random.default_rng(11)
    p = Parts()
    c = p.const
    real = p.op("Unsqueeze", "x", c(np.array([-1])))
    p.keep(p.op("DFT", real, axis=1))
    p.keep(p.op("DFT", real, axis=2, onesided=1))
    p.keep(p.op("DFT", p.op("DFT", real, axis=2), axis=1, inverse=1))
    # 2 channels, blocks of 2 × 3 over an image of 6 × 8, then with strides, padding, gaps and a rest.
    blocks = p.weight(rng.normal(size=(1, 12, 30)))
    p.keep(p.op("Col2Im", blocks, c(np.array([6, 8])), c(np.array([2, 3]))))
    wide = p.weight(rng.normal(size=(1, 12, 6)))
    p.keep(p.op("Col2Im", wide, c(np.array([6, 9])), c(np.array([2, 3])), strides=[2, 3], pads=[1, 0, 0, 1], dilations=[2, 2]))
    indices, updates = c(rng.integers(-5, 5, size=(2, 3, 2))), p.weight(rng.normal(size=(2, 3, 2)))
    p.keep(p.op("ScatterElements", "x", c(np.array([[[0, 4], [1, 2], [3, -4]]] * 2)), updates, axis=2))
    p.keep(p.op("ScatterElements", "x", indices, updates, axis=2, reduction="add"))
    path = p.save("transforms", [("x", TensorProto.FLOAT, [2, 3, 5])], opset=18)
    record(path, {"x": rng.normal(size=(2, 3, 5)).astype(np.float32)})


class Cnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.Hardswish())
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6())
        self.norm, self.fc = nn.GroupNorm(2, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.nn.functional.max_pool2d(x + self.block(x), 3, 2, 1)
        return self.fc(torch.nn.functional.silu(self.norm(x)).mean((2, 3)))


class Encoder(torch.nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        nn = torch.nn
        self.heads, self.words, self.places = heads, nn.Embedding(20, width), nn.Embedding(16, width)
        self.qkv, self.out, self.n1, self.n2 = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down, self.head = nn.Linear(width, 16), nn.Linear(16, width), nn.Linear(width, 4)
        self.register_buffer("ids", torch.arange(16)[None])

    def forward(self, input_ids, attention_mask):
        n, s = input_ids.shape
        x = self.n1(self.words(input_ids) + self.places(self.ids[:, :s]))
        q, k, v = (t.view(n, s, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        keep = attention_mask[:, None, None, :].bool().expand(n, 1, s, s)
        x = x + self.out(torch.nn.functional.scaled_dot_product_attention(q, k, v, keep).transpose(1, 2).reshape(n, s, -1))
        x = self.n2(x + self.down(torch.nn.functional.gelu(self.up(x))))
        return self.head(x[:, 0])


def exported():
    """Both exporters of PyTorch, batch and sequence free."""
    torch.manual_seed(0)
    dynamic = torch.export.Dim.DYNAMIC
    ids, mask = torch.randint(0, 20, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    mask[1, 4:] = 0
    for name, module, args, names in [("cnn", Cnn(), (torch.randn(3, 3, 17, 16),), ["image"]), ("encoder", Encoder(), (ids, mask), ["input_ids", "attention_mask"])]:
        with torch.no_grad():
            for p in module.parameters():
                # Exporters merge equal tensors: no two may be.
                p.add_(torch.randn_like(p) * 0.05)
            for b in module.modules():
                if isinstance(b, torch.nn.BatchNorm2d):
                    b.running_mean.normal_(0, 0.1), b.running_var.uniform_(0.5, 1.5)
        module.eval()
        free = [0] if name == "cnn" else [0, 1]
        for kind in ["script", "dynamo"]:
            path = os.path.join(HERE, f"{name}_{kind}.onnx")
            if kind == "script":
                axes = {n: {i: ["batch", "sequence"][i] for i in free} for n in names}
                torch.onnx.export(module, args, path, dynamo=False, input_names=names, output_names=["logits"], dynamic_axes=axes, opset_version=14)
            else:
                shapes = tuple({i: dynamic for i in free} for _ in args)
                torch.onnx.export(module, args, path, dynamo=True, input_names=names, output_names=["logits"], dynamic_shapes=shapes, external_data=False, verbose=False)
            model = onnx.load(path)
            # Traces of the maker's machine, and bytes.
            for node in model.graph.node:
                del node.metadata_props[:]
                node.doc_string = ""
            del model.graph.value_info[:]
            onnx.save(model, path)
            record(path, {n: a.numpy() for n, a in zip(names, args)}, module, args)


def external():
    """Tensors in a file beside the network."""
    path = save("external", [helper.make_node("MatMul", ["x", "w"], ["y"])], [("x", TensorProto.FLOAT, ["n", 3])], initialisers=[("w", RNG.normal(size=(3, 4)).astype(np.float32))])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="external.data", size_threshold=0)
    record(path, {"x": RNG.normal(size=(2, 3)).astype(np.float32)})


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    for make in [unary, binary, structure, index, images, recurrent, old, conditional, sizes, transforms, exported, external]:
        make()
