"""Makes the seeds that are not fixtures of a crate's tests: small files of every kind, valid ones.

    pip install pillow pyarrow
    python fuzz/make_seeds.py
"""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
DIVIDER = b"\x1e"


def save(target, name, data):
    folder = os.path.join(HERE, "seeds", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def as_json(value):
    return json.dumps(value).encode()


def configs():
    with open(os.path.join(HERE, "..", "xtask", "tests", "onnx_families.json")) as file:
        families = json.load(file)
    for config in families:
        save("config", config["model_type"], as_json(config))
    timm = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 0.9, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}}
    save("config", "timm", as_json(timm))
    processor = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True, "rescale_factor": 1 / 255}
    save("config", "processor", as_json(processor))
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}, {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
    parts = [families[0], modules, {"pooling_mode_mean_tokens": True}, {"model_max_length": 512}, processor, {"weight_map": {"a": "model-1.safetensors"}}]
    save("folder", "sentence", DIVIDER.join(as_json(p) for p in parts))


def tables():
    save("table", "csv", b"\x00" + b'text,label,split\n"a ""quoted"" one",x,train\nb,y,test\n')
    save("table", "tsv", b"\x01" + b"text\tlabel\na\tx\nb\ty\n")
    save("table", "jsonl", b"\x02" + b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [0, 1]}), out)
    save("table", "parquet", b"\x03" + out.getvalue())


def pictures():
    picture = Image.new("RGB", (9, 7), (200, 30, 90))
    for kind in ["PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF"]:
        out = io.BytesIO()
        picture.save(out, kind)
        save("picture", kind.lower(), out.getvalue())


def archives():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("package/model.bin", b"weights" * 9)
    save("archive", "zip", b"\x00" + out.getvalue())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        info = tarfile.TarInfo("package/" + "long" * 30)
        info.size = 5
        file.addfile(info, io.BytesIO(b"hello"))
    save("archive", "tgz", b"\x01" + gzip.compress(out.getvalue(), mtime=0))


def safetensors():
    header = as_json({"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    save("safetensors", "two", struct.pack("<Q", len(header)) + header + bytes(8))


if __name__ == "__main__":
    for make in [configs, tables, pictures, archives, safetensors]:
        make()
