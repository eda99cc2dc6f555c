"""Writes state_dicts.json: what the reference implementations call their parameters, for every architecture of the zoo.

An entry is [n_parameters, hash]; the hash is FNV-1a (64 bit) over "name:d0,d1,…\n" of every tensor of the state dict in
its order, `num_batches_tracked` left out.  Keys of an entry are the number of classes, or "none" for a trunk of BERT.
Run:  python make_state_dicts.py > state_dicts.json     (needs torch, torchvision, timm, transformers; no weights, no network)
"""
import json, os, sys
import timm, torch, torchvision, transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
from make import TRANSFORMERS

TORCHVISION = ["alexnet", "squeezenet1_0", "squeezenet1_1", "inception_v3", "mobilenet_v2"]
TORCHVISION += [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]
TORCHVISION += [f"resnet{n}" for n in (18, 34, 50, 101, 152)]
TORCHVISION += ["wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
TORCHVISION += [f"efficientnet_b{n}" for n in range(5)]
TORCHVISION += [f"densenet{n}" for n in (121, 161, 169, 201)]
TORCHVISION += [f"convnext_{n}" for n in ("tiny", "small", "base", "large")]
TORCHVISION += ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"]
TIMM = [f"{p}efficientnet_{v}{n}" for p in ("", "tf_") for v in ("b", "lite") for n in range(5)]
TIMM += [f"mobilenetv2_{v}" for v in ("050", "100", "110d", "120d", "140")]
TIMM += [f"convnext_{n}" for n in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")]
TIMM += [f"vit_{n}" for n in ("tiny_patch16_224", "tiny_patch16_384", "small_patch32_224", "small_patch16_224", "small_patch16_384")]
TIMM += [f"vit_{n}" for n in ("base_patch32_224", "base_patch16_224", "base_patch16_384", "large_patch16_224")]
TIMM += [f"deit_{n}_patch16_224" for n in ("tiny", "small", "base")]
BERT = {  # layers, width, heads; the feed-forward width is four times the width
    "bert-tiny": (2, 128, 2), "bert-mini": (4, 256, 4), "bert-small": (4, 512, 8), "bert-medium": (8, 512, 8),
    "bert-base": (12, 768, 12), "bert-large": (24, 1024, 16), "minilm-l6": (6, 384, 12), "minilm-l12": (12, 384, 12),
}

def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h

def entry(model):
    tensors = [(k, v) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
    text = "".join(f"{k}:{','.join(map(str, v.shape))}\n" for k, v in tensors)
    return [sum(p.numel() for p in model.parameters()), f"{fnv1a64(text):016x}"]

def torchvision_model(name, classes):
    kw = dict(init_weights=False, aux_logits=True, transform_input=False) if name == "inception_v3" else {}
    return getattr(torchvision.models, name)(weights=None, num_classes=classes, **kw)

def bert_config(name, **kw):
    layers, width, heads = BERT[name]
    return transformers.BertConfig(num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, **kw)

def family(name):
    """A tiny network of golden/make.py: its config.json, and the hash of its names; of a tensor under several names the first."""
    prefix, head, overrides = TRANSFORMERS[name]
    model = getattr(transformers, prefix + head)(getattr(transformers, prefix + "Config")(**overrides))
    own = {k for k, _ in model.named_parameters()} | {k for k, _ in model.named_buffers()}
    text = "".join(f"{k}:{','.join(map(str, v.shape))}\n" for k, v in model.state_dict().items() if k in own)
    config = {"model_type": model.config.model_type, "architectures": [prefix + head], **overrides}
    return dict(config=config, hash=f"{fnv1a64(text):016x}")

def main():
    out = {}
    with torch.device("meta"):
        for name in TORCHVISION: out[name] = {str(c): entry(torchvision_model(name, c)) for c in (10, 1000)}
        for name in TIMM: out[f"timm/{name}"] = {str(c): entry(timm.create_model(name, num_classes=c)) for c in (10, 1000)}
        for name in BERT:
            out[name] = {str(c): entry(transformers.BertForSequenceClassification(bert_config(name, num_labels=c))) for c in (10, 1000)}
            out[name]["none"] = entry(transformers.BertModel(bert_config(name)))
        heads = dict(token=transformers.BertForTokenClassification, question=transformers.BertForQuestionAnswering)
        for head, cls in heads.items(): out[f"bert-tiny#{head}"] = {"9": entry(cls(bert_config("bert-tiny", num_labels=9 if head == "token" else 2)))}
        # XLMRobertaForTokenClassification lists its classifier before its trunk; that order is not taken over.
        for name in TRANSFORMERS:
            if name != "xlm-roberta-tiny-ner": out[f"transformers/{name}"] = family(name)
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, transformers)}
    lines = [f'"{k}": {json.dumps(v)}' for k, v in {"versions": versions, **out}.items()]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")

if __name__ == "__main__":
    main()
