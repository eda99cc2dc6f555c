"""Writes ONNX's own tests of its operators, with the answers that its authors computed by NumPy, as `cargo xtask onnx` reads them.

    pip install onnx numpy
    python backend.py OUT [OPERATOR …]
    cargo xtask onnx OUT

Of a test, inputs that say sizes, axes or the like are made constants, as exporters write them: all integers but the first input and
what operators read as data.  A file is written for every output, since one is compared.
"""

import json
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

# Inputs, by operator and position, that are data though they are integers or truth values.
DATA = {
    "Where": [0, 1, 2], "Gather": [0, 1], "GatherElements": [0, 1], "GatherND": [0, 1], "And": [0, 1], "Or": [0, 1], "Xor": [0, 1],
    "Equal": [0, 1], "Less": [0, 1], "Greater": [0, 1], "LessOrEqual": [0, 1], "GreaterOrEqual": [0, 1],
}
# Float inputs that say how, not what.
HOW = {"Resize": [1, 2], "Upsample": [1], "Clip": [1, 2], "Pad": [2], "OneHot": [2], "Range": [0, 1, 2], "QuantizeLinear": [1, 2], "DequantizeLinear": [1, 2]}


def is_constant(node, at, array):
    if at in HOW.get(node.op_type, []):
        return True
    is_number = array.dtype.kind == "f"
    return not is_number and at > 0 and at not in DATA.get(node.op_type, [])


def write(out, case):
    model = case.model
    graph = model.graph
    inputs, outputs = case.data_sets[0]
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output] if v.type.HasField("tensor_type")}
    if len(kinds) != len({v.name for v in [*graph.input, *graph.output]}):
        return "not of tensors"
    if any(not isinstance(a, np.ndarray) or a.dtype.kind not in "fiub" for a in [*inputs, *outputs]):
        return "not of numbers"
    readers = {name: (node, at) for node in graph.node for at, name in enumerate(node.input)}
    feed = {}
    constants = []
    for value, array in zip(graph.input, inputs):
        node, at = readers.get(value.name, (graph.node[0], 0))
        if is_constant(node, at, array):
            constants.append(numpy_helper.from_array(array, value.name))
        else:
            feed[value.name] = (value, array)
    if not feed:
        return "without an input"
    for at, (value, array) in enumerate(zip(graph.output, outputs)):
        name = case.name.removeprefix("test_") + ("" if at == 0 else f".{at}")
        # A number of any kind is compared as a float.
        nodes = [*graph.node, helper.make_node("Cast", [value.name], ["answer"], to=TensorProto.FLOAT)]
        answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)
        one = helper.make_graph(nodes, name, [v for v, _ in feed.values()], [answer], constants)
        written = helper.make_model(one, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions)
        onnx.save(written, os.path.join(out, name + ".onnx"))
        blob, recorded = b"", []
        for key, (_, array) in feed.items():
            is_float = array.dtype.kind == "f"
            array = array.astype(np.float32 if is_float else np.int64)
            recorded.append({"name": key, "shape": list(array.shape), "dtype": "f32" if is_float else "i64", "offset": len(blob)})
            blob += array.tobytes()
        meta = {"inputs": recorded, "output": {"shape": list(array.shape), "offset": len(blob)}}
        meta["output"]["shape"] = list(outputs[at].shape)
        blob += outputs[at].astype(np.float32).tobytes()
        with open(os.path.join(out, name + ".bin"), "wb") as file:
            file.write(blob)
        with open(os.path.join(out, name + ".json"), "w") as file:
            json.dump(meta, file)
    return None


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    out, wanted = sys.argv[1], sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    left = {}
    for case in collect_testcases(None):
        operators = [n.op_type for n in case.model.graph.node]
        if wanted and not set(operators) & set(wanted):
            continue
        why = write(out, case)
        if why:
            left.setdefault(why, []).append(case.name)
    for why, names in left.items():
        print(f"{len(names)} tests are left out: {why}")
