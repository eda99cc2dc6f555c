"""Writes tests/fixtures: small files made by PyTorch and safetensors themselves, and what they hold (expected.json).

Run it with Python 3 and the packages torch, numpy and safetensors; tests read the committed files and need neither:

    python crates/formats/tests/make_fixtures.py
"""

import json
import pathlib
import warnings
from collections import OrderedDict

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "fixtures"
OUT.mkdir(exist_ok=True)
torch.manual_seed(0)
expected = {}


def describe(tensors):
    def one(t):
        t = t.detach()
        dtype = str(t.dtype).removeprefix("torch.").replace("bfloat", "bf").replace("float", "f").replace("uint", "u")
        dtype = dtype if dtype == "bool" else dtype.replace("int", "i")
        return {"dtype": dtype, "shape": list(t.shape), "values": t.double().flatten().tolist()}

    return [[name, one(t)] for name, t in tensors.items()]


def write(name, obj, tensors, kinds=("zip", "legacy"), **notes):
    for kind in kinds:
        path = OUT / f"{name}.{kind}.pt"
        torch.save(obj, path, _use_new_zipfile_serialization=kind == "zip")
        expected[path.name] = {"tensors": describe(tensors), **notes}


every = OrderedDict(
    f64=torch.randn(2, 3, dtype=torch.float64),
    f32=torch.randn(2, 3),
    f16=torch.randn(4).half(),
    bf16=torch.randn(4).bfloat16(),
    i64=torch.tensor([1, -2, 2**40]),
    i32=torch.tensor([1, -2, 2**30], dtype=torch.int32),
    i16=torch.tensor([1, -2, 300], dtype=torch.int16),
    i8=torch.tensor([1, -2, 127], dtype=torch.int8),
    u8=torch.tensor([1, 2, 255], dtype=torch.uint8),
    bool=torch.tensor([True, False, True]),
)
write("dtypes", every, every)

base = torch.arange(24, dtype=torch.float32)
views = {
    "whole": base,
    "slice": base[5:9],
    "matrix": base.view(4, 6),
    "transposed": base.view(4, 6).t(),
    "permuted": base.view(2, 3, 4).permute(2, 0, 1),
    "every_other": base[1::2],
    "column": base.view(4, 6)[:, 2],
    "expanded": torch.tensor([[7.0], [8.0]]).expand(2, 5),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "channels_last": torch.randn(1, 2, 2, 2).to(memory_format=torch.channels_last),
}
write("views", views, views)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.bn = torch.nn.BatchNorm2d(2)
        self.fc = torch.nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
net(torch.randn(2, 1, 5, 5)).square().sum().backward()
optimizer.step()
state = net.state_dict()
write("state_dict", state, state)
checkpoint = {
    "epoch": 3,
    "arch": "tiny",
    "best": torch.tensor(0.93),
    "state_dict": OrderedDict(("module." + k, v) for k, v in state.items()),
    "optimizer": optimizer.state_dict(),
    "history": [{"loss": 0.5}, {"loss": 0.25}],
    "rng_state": torch.get_rng_state()[:16].clone(),
}
write("checkpoint", checkpoint, state, state_dict="state_dict", prefix_stripped="module.")
twice = {"lightning": {"model": {"_orig_mod.module." + k: v for k, v in state.items()}}}
write("wrapped_twice", twice, state, state_dict="lightning.model", prefix_stripped="_orig_mod.module.")
nested = {"encoder": {"weight": base[:2], "layers": {0: {"bias": base[3:4]}}}, "head": {"weight": base[:1]}, "n": 1}
flat = {"encoder.weight": base[:2], "encoder.layers.0.bias": base[3:4], "head.weight": base[:1]}
write("nested", nested, flat)
parameters = {"w": torch.nn.Parameter(base[:4].clone()), "frozen": torch.nn.Parameter(base[:1].clone(), False)}
write("parameters", parameters, parameters)
tagged = torch.nn.Parameter(base[:3].clone())
tagged.note = "state makes torch write _rebuild_parameter_with_state"
write("parameter_with_state", {"w": tagged}, {"w": tagged})
for protocol in (3, 4, 5):
    path = OUT / f"protocol{protocol}.zip.pt"
    torch.save(state, path, pickle_protocol=protocol)
    expected[path.name] = {"tensors": describe(state)}

# Networks saved whole: what a state dict of theirs holds.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    backbone = torch.nn.Sequential(OrderedDict(backbone=Net(), scaler=torch.nn.Linear(2, 2, bias=False)))
    write("module", backbone, backbone.state_dict())
    write("module_in_checkpoint", {"epoch": 1, "model": backbone}, backbone.state_dict(), state_dict="model")
    scripted = torch.jit.script(Net().eval())
    scripted.save(OUT / "scripted.zip.pt")
    expected["scripted.zip.pt"] = {"tensors": describe(scripted.state_dict()), "any_order": True}

# What must be refused, and by what name.
refused = {
    "complex.zip.pt": ({"w": base[:1], "phase": torch.zeros(2, dtype=torch.complex64)}, "phase"),
    "uint16.zip.pt": ({"w": base[:1], "id16": torch.zeros(2, dtype=torch.uint16)}, "id16"),
    "sparse.zip.pt": ({"w": base[:1], "sparse": torch.eye(2).to_sparse()}, "sparse"),
    "quantised.zip.pt": ({"w": base[:1], "q": torch.quantize_per_tensor(base[:4], 0.1, 0, torch.qint8)}, "q"),
    "no_module.zip.pt": (pathlib.PurePosixPath("net"), "pathlib.PurePosixPath"),
    "no_tensors.zip.pt": ({"epoch": 3, "arch": "tiny"}, "epoch, arch"),
}
for file, (obj, said) in refused.items():
    torch.save(obj, OUT / file)
    expected[file] = {"error": said}

save_file({k: v.contiguous() for k, v in every.items()}, OUT / "dtypes.safetensors", metadata={"format": "pt"})
expected["dtypes.safetensors"] = {"tensors": describe(every), "any_order": True}
save_file({"w": base[:1].clone(), "eight": torch.zeros(2).to(torch.float8_e4m3fn)}, OUT / "float8.safetensors")
expected["float8.safetensors"] = {"error": "eight"}

(OUT / "expected.json").write_text(json.dumps(expected, indent=None, separators=(",", ":")) + "\n")
print(sum(f.stat().st_size for f in OUT.iterdir()), "bytes in", len(list(OUT.iterdir())), "files")
