"""Makes the seeds that are not fixtures of a crate's tests: small files of every kind, valid ones.

    pip install pillow pyarrow tokenizers
    python fuzz/make_seeds.py [BUNDLE]

With a bundle of pictures, its manifest becomes a seed too.
"""

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import tokenizers
from PIL import Image
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

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


def adapters():
    folder = os.path.join(HERE, "..", "crates", "headstart", "tests", "peft")
    for name in ["bert-lora", "bert-dora", "roberta-ia3", "vit-dora", "vit-ia3"]:
        parts = []
        for file in ["adapter_config.json", "adapter_model.safetensors"]:
            with open(os.path.join(folder, name, file), "rb") as f:
                parts.append(f.read())
        save("adapter", name, DIVIDER.join(parts))


def tokenizer_of(model, normalizer, pre_tokenizer, post_processor=None, decoder=None, text="A low\u00e9r nEw \u4e2d <s> 12"):
    made = tokenizers.Tokenizer(model)
    made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizer
    if post_processor:
        made.post_processor = post_processor
    if decoder:
        made.decoder = decoder
    made.add_special_tokens(["<s>", AddedToken("<m>", lstrip=True, rstrip=True, single_word=True)])
    made.enable_padding(pad_id=1, pad_token="<pad>", pad_to_multiple_of=4)
    made.enable_truncation(8, stride=2, direction="left")
    return made.to_str(pretty=False).encode() + DIVIDER + text.encode()


def tokenizers_of_every_kind():
    letters = {c: i for i, c in enumerate(["<s>", "<pad>", "<unk>", "l", "o", "w", "e", "r", "lo", "low", "n", "##e", "##r", "\u2581", "\u0120"])}
    pair = processors.BertProcessing(("<s>", 0), ("<pad>", 1))
    template = processors.TemplateProcessing(single="<s> $A <pad>", pair="<s> $A <pad> $B:1", special_tokens=[("<s>", 0), ("<pad>", 1)])
    N, P = normalizers, pre_tokenizers
    cases = {
        "wordpiece": (models.WordPiece(letters, unk_token="<unk>", max_input_chars_per_word=9), N.BertNormalizer(), P.BertPreTokenizer(), pair, decoders.WordPiece()),
        "bpe": (models.BPE(letters, [("l", "o"), ("lo", "w")], unk_token="<unk>", dropout=None, byte_fallback=True, fuse_unk=True), N.Sequence([N.NFKC(), N.Replace(Regex("\\s+"), " "), N.Prepend("\u2581")]), P.ByteLevel(True), processors.RobertaProcessing(("<s>", 0), ("<pad>", 1)), decoders.ByteLevel()),
        "unigram": (models.Unigram([("<unk>", 0.0), ("low", -1.0), ("l", -2.0), ("o", -2.5)], 0, True), N.Sequence([N.Strip(), N.StripAccents(), N.Lowercase(), N.NFD(), N.Nmt()]), P.Metaspace(), template, decoders.Metaspace()),
        "wordlevel": (models.WordLevel(letters, "<unk>"), N.Replace("e", "w"), P.Sequence([P.Split(Regex("(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\s+(?!\\S)"), "isolated", invert=True), P.Digits(True), P.Punctuation(), P.UnicodeScripts()])),
    }
    for name, parts in cases.items():
        save("tokenizer", name, tokenizer_of(*parts))


def short(value):
    """The same with lists of at most three things."""
    if isinstance(value, dict):
        return {k: short(v) for k, v in value.items()}
    return [short(v) for v in value[:3]] if isinstance(value, list) else value


def manifest(bundle):
    """A sealed bundle's description."""
    with open(os.path.join(bundle, "headstart.json")) as file:
        whole = json.load(file)
    with open(os.path.join(bundle, "graph.json"), "rb") as file:
        graph = file.read()
    entry = {"size_bytes": len(graph), "blake3": whole["files"]["graph.json"]["blake3"]}
    save("manifest", "pictures", as_json({**short(whole), "files": {"graph.json": entry}}))


if __name__ == "__main__":
    for make in [configs, tables, pictures, archives, safetensors, adapters, tokenizers_of_every_kind]:
        make()
    for bundle in sys.argv[1:]:
        manifest(bundle)
