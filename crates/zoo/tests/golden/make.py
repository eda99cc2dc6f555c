"""Reference numbers from torchvision, timm and transformers, for networks with known, reproducible weights.

No weights are stored: `fill` gives every tensor as a pure function of its name and shape, which any language can repeat.
What is stored is what the reference answers: logits, gradient norms of a cross-entropy loss, and the losses of three SGD
steps (momentum, weight decay, batch norm in training mode, dropout and stochastic depth 0).
Needs torch, torchvision, timm, transformers; their versions are in each file.  No network, no weights.

    OMP_NUM_THREADS=2 python make.py . alexnet vgg16 resnet18 …       one file an architecture (`/` becomes `_`)
    OMP_NUM_THREADS=2 python make.py .                                all that are kept here
"""
import json, math, sys
import numpy as np, timm, torch, torchvision, transformers
from torch import nn

LR = 1e-3
U64 = np.uint64
# Square images, pixels; small ones where the network allows it keep the checks quick.
TORCHVISION = dict(alexnet=224, vgg16=224, vgg11_bn=64, resnet18=224, resnet34=96, resnet50=224, wide_resnet50_2=64, resnext50_32x4d=64,
                   inception_v3=299, squeezenet1_0=96, squeezenet1_1=224, mobilenet_v2=224, efficientnet_b0=224, efficientnet_b1=96, efficientnet_b2=96)
TIMM = dict(tf_efficientnet_lite0=224, efficientnet_b0=96, tf_efficientnet_b1=97, efficientnet_lite0=96, tf_efficientnet_lite2=97, mobilenetv2_100=96)
EXTRA = dict(resnet101=64, resnet152=64, wide_resnet101_2=64, resnext101_32x8d=64, vgg19_bn=64, efficientnet_b4=96)  # big: not kept here
HEADS = dict(sequence="BertForSequenceClassification", token="BertForTokenClassification", question="BertForQuestionAnswering")
BERT = {  # name: (head, overrides of BertConfig)
    "bert-base": ("sequence", dict(num_labels=3)),
    "minilm-l6": ("sequence", dict(num_labels=3, hidden_size=384, num_hidden_layers=6, intermediate_size=1536)),
    "bert-tiny": ("sequence", dict(num_labels=3, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)),
    "bert-tiny-gelu-new": ("sequence", dict(num_labels=3, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, hidden_act="gelu_new", layer_norm_eps=1e-5)),
    "bert-qa": ("question", dict(num_hidden_layers=4)),
    "bert-ner": ("token", dict(num_hidden_layers=4, num_labels=9)),
}

def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode(): h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h

def uniform(name, n):
    """n floats in [0, 1): the top 24 bits of splitmix64(fnv1a64(name) + i·golden) / 2²⁴, i = 0…n−1, all modulo 2⁶⁴."""
    with np.errstate(over="ignore"):
        z = U64(fnv1a64(name)) + np.arange(n, dtype=np.uint64) * U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        z = z ^ (z >> U64(31))
    return (z >> U64(40)).astype(np.float64) / 2.0**24

def fill(name, shape):
    u = uniform(name, int(np.prod(shape)) if len(shape) else 1)
    if name.endswith("num_batches_tracked"): return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_var"): v = 0.5 + u
    elif name.endswith("running_mean"): v = 0.2 * (u - 0.5)
    elif "embeddings" in name and len(shape) == 2: v = 0.2 * (u - 0.5)
    elif len(shape) >= 2: v = (2 * u - 1) * math.sqrt(3.0 / np.prod(shape[1:])) * 1.4
    elif name.endswith("weight"): v = 0.8 + 0.4 * u
    else: v = 0.2 * (u - 0.5)
    return torch.from_numpy(v.astype(np.float32)).reshape(shape)

def filled(model):
    model.load_state_dict({k: fill(k, tuple(v.shape)) for k, v in model.state_dict().items()})
    for m in model.modules():
        if isinstance(m, (nn.Dropout, nn.Dropout2d)): m.p = 0.0
    return model

def image(n, size_px): return torch.from_numpy((2 * uniform("input", n * 3 * size_px**2) - 1).astype(np.float32)).reshape(n, 3, size_px, size_px)
def tokens(n, length, vocabulary): return torch.from_numpy((uniform("input", n * length) * vocabulary).astype(np.int64)).reshape(n, length)

def stats(t):
    t = t.detach().double().flatten()
    return dict(mean=t.mean().item(), std=t.std().item(), abs_sum=t.abs().sum().item(), first=t[:8].tolist())

def grad_norms(model):
    grads = [(k, p.grad) for k, p in model.named_parameters() if p.grad is not None]
    n = len(grads)
    return {grads[i][0]: grads[i][1].double().norm().item() for i in sorted({0, 1, n // 3, n // 2, 2 * n // 3, n - 2, n - 1})}

def classifier(model, run, labels):
    model.eval(); out = run(model); loss = nn.functional.cross_entropy(out, labels); model.zero_grad(); loss.backward()
    rec = dict(logits=[row[:16] for row in out.detach().tolist()], logits_stats=stats(out), n_outputs=out.shape[-1],
               loss_eval=loss.item(), grad_norms_eval=grad_norms(model))
    model.train(); sgd = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4); losses = []
    for _ in range(3):
        sgd.zero_grad(); loss = nn.functional.cross_entropy(run(model), labels); loss.backward(); sgd.step(); losses.append(loss.item())
    model.eval(); after = nn.functional.cross_entropy(run(model), labels).item()
    return {**rec, "sgd": dict(lr=LR, momentum=0.9, weight_decay=1e-4, train_losses=losses, eval_loss_after=after)}

def image_model(name):
    if name.startswith("timm/"): return filled(timm.create_model(name[5:], num_classes=10)), TIMM[name[5:]], "timm"
    kw = dict(init_weights=False, aux_logits=True, transform_input=False) if name == "inception_v3" else {}
    if name.startswith("efficientnet"): kw = dict(stochastic_depth_prob=0.0)
    return filled(getattr(torchvision.models, name)(weights=None, num_classes=10, **kw)), {**TORCHVISION, **EXTRA}[name], "torchvision"

def make_image(name):
    model, size_px, source = image_model(name); x = image(2, size_px)
    def run(m):
        out = m(x)
        return out if torch.is_tensor(out) else out.logits  # the auxiliary head is left out of the loss
    n = sum(p.numel() for p in model.parameters())
    return dict(input=["image", 2, size_px], labels=[3, 7], source=source, **classifier(model, run, torch.tensor([3, 7])), n_parameters=n)

def make_bert(name):
    head, overrides = BERT[name]; config = transformers.BertConfig(**overrides); config._attn_implementation = "eager"
    model = filled(getattr(transformers, HEADS[head])(config)).eval(); ids = tokens(2, 24, config.vocab_size)
    rec = dict(source="transformers", config_class="BertConfig", model_class=HEADS[head], overrides=overrides, n_parameters=sum(p.numel() for p in model.parameters()))
    if head == "sequence":
        ids[ids == config.pad_token_id] = 5; mask = torch.ones_like(ids); mask[1, 16:] = 0; ids[1, 16:] = config.pad_token_id or 0
        hidden = stats(model.base_model(ids, attention_mask=mask).last_hidden_state[0])
        rec.update(input_ids=ids.tolist(), attention_mask=mask.tolist(), labels=[2, 0], last_hidden_stats_first_sequence=hidden)
        return {**rec, **classifier(model, lambda m: m(ids, attention_mask=mask).logits, torch.tensor([2, 0]))}
    if head == "question":
        out = model(ids, start_positions=torch.tensor([3, 5]), end_positions=torch.tensor([6, 9])); out.loss.backward()
        rec.update(input_ids=ids.tolist(), start=out.start_logits.tolist(), end=out.end_logits.tolist())
    else:
        labels = tokens(2, 24, 9); out = model(ids, labels=labels); out.loss.backward()
        rec.update(input_ids=ids.tolist(), labels=labels.tolist(), logits_first=out.logits[0, 0].tolist())
    return {**rec, "loss": out.loss.item(), "grad_norms_eval": grad_norms(model)}

def main():
    folder, names = sys.argv[1], sys.argv[2:] or [*TORCHVISION, *(f"timm/{n}" for n in TIMM), *BERT]
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, transformers)}
    for name in names:
        torch.manual_seed(0); rec = make_bert(name) if name in BERT else make_image(name)
        with open(f"{folder}/{name.replace('/', '_')}.json", "w") as f: f.write(json.dumps({"name": name, **versions, **rec}, separators=(",", ":")) + "\n")
        print(name, "ok", flush=True)

if __name__ == "__main__":
    main()
