"""Changes one node of each of the networks of a folder at random and records what onnxruntime makes of those that it takes.

    pip install torch onnx onnxruntime onnxscript
    python changed.py IN OUT [HOW_MANY] [SEED]
    cargo xtask onnx OUT

What is read of them must agree; what is refused by name is no fault.
"""

import os
import random
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from make import record
from onnx import TensorProto, defs, helper, numpy_helper

# Others are rounded or wrap where we have f32 and 64 bits.
KINDS = {TensorProto.FLOAT: np.float32, TensorProto.INT64: np.int64, TensorProto.BOOL: np.bool_}


def array(rng, kind, shape):
    """Numbers that are apart, so that no comparison hangs on their last digit."""
    n = int(np.prod(shape))
    whole = [rng.randrange(-3, 8) for _ in range(n)]
    values = [v + rng.choice([0.125, 0.375, 0.625]) for v in whole] if kind == TensorProto.FLOAT else whole
    return (np.array(values).reshape(shape) if kind != TensorProto.BOOL else np.array(values).reshape(shape) > 2).astype(KINDS[kind])


def shape_of(value):
    return [d.dim_value or 2 for d in value.type.tensor_type.shape.dim]


def setting(rng, node, version):
    """A setting that the operator has, with another value."""
    try:
        known = defs.get_schema(node.op_type, version, node.domain).attributes
    except defs.SchemaError:
        known = {}
    old = {a.name: a for a in node.attribute}
    makers = {
        defs.OpSchema.AttrType.INT: lambda: rng.randrange(-3, 8),
        defs.OpSchema.AttrType.FLOAT: lambda: rng.randrange(-8, 9) / 2,
        defs.OpSchema.AttrType.INTS: lambda: [rng.randrange(-1, 5) for _ in range(rng.randrange(1, 5))],
    }
    name = rng.choice([n for n, a in known.items() if a.type in makers] or [""])
    if not name:
        return
    if name in old:
        node.attribute.remove(old[name])
    if rng.random() < 0.8:
        ints = list(old[name].ints) if name in old else []
        # What any other number than 0 and 1 says differs by operator.
        is_flag = known[name].default_value.i in (0, 1) and name not in ("axis", "group", "batch_dims")
        is_flag = is_flag and known[name].type == defs.OpSchema.AttrType.INT
        value = rng.randrange(2) if is_flag else makers[known[name].type]()
        if ints and isinstance(value, list):
            # As many as there were: another number of them is mostly refused.
            value = [rng.choice([v, rng.randrange(-1, 5)]) for v in ints]
        node.attribute.append(helper.make_attribute(name, value))


def change(rng, model, node, number):
    graph = model.graph
    version = next((o.version for o in model.opset_import if o.domain == ""), 1)
    what = rng.choice(["setting", "setting", "from", "weight", "given", "less"])
    at = rng.randrange(len(node.input)) if node.input else None
    if what == "setting":
        setting(rng, node, version)
    elif at is None:
        return
    elif what == "less":
        node.input[at] = ""
    elif what == "from":
        names = [v.name for v in [*graph.input, *graph.initializer]] + [name for n in graph.node for name in n.output]
        node.input[at] = rng.choice(names)
    else:
        name, kind = f"new {number}", rng.choice([TensorProto.FLOAT] * 3 + [TensorProto.INT64, TensorProto.BOOL])
        shape = [rng.choice([1, 2, 2, 2, 3, 4, 6]) for _ in range(rng.randrange(5))]
        node.input[at] = name
        if what == "weight":
            graph.initializer.append(numpy_helper.from_array(array(rng, kind, shape), name))
        else:
            graph.input.append(helper.make_tensor_value_info(name, kind, shape))


def changed(rng, model):
    """Another network, with inputs for it; none if onnxruntime refuses it."""
    node = rng.choice(model.graph.node)
    for number in range(rng.randrange(1, 4)):
        change(rng, model, node, number)
    graph = model.graph
    if any(v.type.tensor_type.elem_type not in KINDS for v in graph.input):
        return None
    known = {v.name for v in graph.input}
    for other in graph.node:
        if known.intersection(other.input):
            known.update(other.output)
    if not known.intersection(node.output):
        return None
    result = rng.choice(node.output)
    graph.node.append(helper.make_node("Cast", [result], ["answer"], to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name="answer"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        by = {v.name: v for v in graph.input}
        feed = {i.name: array(rng, by[i.name].type.tensor_type.elem_type, shape_of(by[i.name])) for i in session.get_inputs()}
        answer = session.run(None, feed)[0]
    except Exception:  # onnxruntime has a class for each reason
        return None
    # Numbers that are none, or past f32, hang on the order of sums.
    return feed if np.isfinite(answer).all() and np.abs(answer).max(initial=0) < 1e6 else None


def trial(rng, models, out, number):
    """Whether a network was made; ends the process that it runs in."""
    name, model = rng.choice(models)
    feed = changed(rng, model)
    if feed is not None:
        path = os.path.join(out, f"{name}.{number}.onnx")
        onnx.save(model, path)
        record(path, feed)
    os._exit(0 if feed is not None else 1)


def main(folder, out, how_many=1000, seed=0):
    os.makedirs(out, exist_ok=True)
    files = sorted(f for f in os.listdir(folder) if f.endswith(".onnx"))
    models = [(f.removesuffix(".onnx"), onnx.load(os.path.join(folder, f))) for f in files]
    made = tried = 0
    while made < int(how_many):
        tried += 1
        # A process of its own: some of them end onnxruntime.
        child = os.fork()
        if child == 0:
            trial(random.Random(f"{seed} {tried}"), models, out, made)
        made += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(f"{made} files of {tried} in {out}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    onnxruntime.set_default_logger_severity(4)
    main(*sys.argv[1:])
