"""Runs every image architecture's graph, operator by operator, in PyTorch and compares its logits with the reference's.

An independent check of the wiring (strides, paddings, order of branches), of batch norm's eps and momentum, and of dropout,
for members that have no golden file.  The engine is not involved.  Run, from this folder:
    cargo build -p headstart-zoo --example graph_json
    OMP_NUM_THREADS=2 python check_forward.py PATH/TO/graph_json [NAME …]
"""
import json, subprocess, sys
import timm, torch, torchvision
from torch.nn import functional as F
from golden.make import fill, image
from make_state_dicts import BERT, TIMM, TORCHVISION, bert_config, torchvision_model, transformers

def pad(x, spec, kernel, stride):
    if spec == "same_upper":
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(x.shape[2:], kernel, stride)]
        top, left = total[0] // 2, total[1] // 2
        return F.pad(x, (left, total[1] - left, top, total[0] - top))
    top, left, bottom, right = spec["explicit"]
    return F.pad(x, (left, right, top, bottom))

def apply(op, x):
    kind = op["type"]
    if kind == "conv2d":
        return F.conv2d(pad(x[0], op["padding"], x[1].shape[2:], op["stride"]), *x[1:], stride=op["stride"], dilation=op["dilation"], groups=op["groups"])
    if kind == "batch_norm": return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, op["eps"])
    if kind == "layer_norm": return F.layer_norm(x[0], x[0].shape[-1:], x[1], x[2], op["eps"])
    if kind == "max_pool2d": return F.max_pool2d(x[0], op["kernel"], op["stride"], op["padding"], ceil_mode=op["ceil_mode"])
    if kind == "avg_pool2d": return F.avg_pool2d(x[0], op["kernel"], op["stride"], op["padding"], op["ceil_mode"], op["count_include_pad"])
    if kind == "attention":
        q, k, v = (t.unflatten(2, (op["heads"], -1)).transpose(1, 2) for t in x[:3])
        return F.scaled_dot_product_attention(q, k, v, attn_mask=x[3][:, None, None, :].bool()).transpose(1, 2).flatten(2)
    return {
        "linear": lambda: F.linear(*x), "relu": lambda: F.relu(x[0]), "clip": lambda: x[0].clamp(op["min"], op["max"]),
        "silu": lambda: F.silu(x[0]), "sigmoid": lambda: x[0].sigmoid(), "tanh": lambda: x[0].tanh(),
        "gelu": lambda: F.gelu(x[0], approximate="tanh" if op["tanh"] else "none"),
        "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(x[0], op["size"]), "flatten": lambda: x[0].flatten(op["start"]),
        "add": lambda: x[0] + x[1], "mul": lambda: x[0] * x[1], "concat": lambda: torch.cat(x, op["axis"]),
        "dropout": lambda: x[0], "drop_path": lambda: x[0], "embedding": lambda: F.embedding(x[1], x[0]),
        "position_ids": lambda: torch.arange(x[0].shape[1]).expand_as(x[0]) + op["offset"],
        "select": lambda: x[0].select(op["axis"], op["index"]),
    }[kind]()

def run(graph, inputs):
    values = []
    for v in graph["values"]:
        values.append(inputs[v["name"]] if v["kind"] == "input" else fill(v["name"], v["param_shape"]) if v["kind"] == "param" else None)
    for n in graph["nodes"]:
        try: values[n["output"]] = apply(n["op"], [values[i] for i in n["inputs"]])
        except Exception as e: raise RuntimeError(f"{n['path']} {n['op']}") from e
    return {o["name"]: values[o["value"]] for o in graph["outputs"]}

def check_settings(graph, model):
    """Batch norm, dropout and stochastic depth, by path, have the reference's settings."""
    modules, n = dict(model.named_modules()), 0
    for node in graph["nodes"]:
        op, m = node["op"], modules.get(node["path"])
        if op["type"] == "batch_norm": assert (op["eps"], op["momentum"]) == (m.eps, m.momentum), node; n += 1
        if op["type"] == "dropout": assert op["p"] == m.p, node; n += 1
        if op["type"] == "drop_path": assert abs(op["p"] - m.p) < 1e-12, node; n += 1
    dropped = [k for k, m in modules.items() if type(m).__name__ in ("Dropout", "StochasticDepth") and m.p > 0]
    missing = set(dropped) - {node["path"] for node in graph["nodes"]}
    # A block without a shortcut has a stochastic depth that it never uses; attention dropout is a documented deviation.
    return n, sorted(k for k in missing if not k.endswith(("stochastic_depth", "attention.self.dropout")))

def main():
    binary, names = sys.argv[1], sys.argv[2:] or [*TORCHVISION, *(f"timm/{n}" for n in TIMM), *BERT]
    for name in names:
        size = 0 if name in BERT else 299 if name == "inception_v3" else 75 if name.startswith("timm/") else 96
        line = subprocess.run([binary, name, "10", str(size)], check=True, capture_output=True, text=True).stdout
        graph = json.loads(line)
        if name in BERT: model = transformers.BertForSequenceClassification(bert_config(name, num_labels=10))
        elif name.startswith("timm/"): model = timm.create_model(name[5:], num_classes=10)
        else: model = torchvision_model(name, 10)
        model.load_state_dict({k: fill(k, tuple(v.shape)) for k, v in model.state_dict().items()}); model.eval()
        with torch.no_grad():
            if name in BERT:
                ids = torch.arange(100, 132).reshape(2, 16); mask = torch.ones_like(ids); mask[1, 9:] = 0; types = torch.zeros_like(ids); types[:, 8:] = 1
                inputs = dict(input_ids=ids, attention_mask=mask, token_type_ids=types); want = model(**inputs).logits
            else: inputs = dict(image=image(2, size)); want = model(inputs["image"])
            got = run(graph, inputs)["logits"]
        error = ((got - want).abs().max() / want.abs().max()).item(); n, missing = check_settings(graph, model)
        print(f"{name:28} relative error {error:.1e}, {n} settings alike {missing or ''}", flush=True)
        assert error < 1e-4 and not missing, name

if __name__ == "__main__":
    main()
