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
                   inception_v3=299, squeezenet1_0=96, squeezenet1_1=224, mobilenet_v2=224, efficientnet_b0=224, efficientnet_b1=96, efficientnet_b2=96,
                   densenet121=64, convnext_tiny=64, vit_b_32=64)
TIMM = dict(tf_efficientnet_lite0=224, efficientnet_b0=96, tf_efficientnet_b1=97, efficientnet_lite0=96, tf_efficientnet_lite2=97, mobilenetv2_100=96,
            convnext_atto=64, convnext_tiny=64, vit_tiny_patch16_224=64)
EXTRA = dict(resnet101=64, resnet152=64, wide_resnet101_2=64, resnext101_32x8d=64, vgg19_bn=64, efficientnet_b4=96)  # big: not kept here

# name: (what `transformers` calls it before `Config`, its class with a head, overrides of its configuration)
BERT_TINY = dict(num_labels=3, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)
TINY = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96)
TEXT = dict(vocab_size=400, max_position_embeddings=64)
DEBERTA = dict(relative_attention=True, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", position_biased_input=False)
DISTIL = dict(vocab_size=400, max_position_embeddings=64, dim=64, n_layers=3, n_heads=4, hidden_dim=96)
T5 = dict(vocab_size=400, d_model=48, d_kv=16, d_ff=96, num_layers=2, num_heads=4, relative_attention_max_distance=20, decoder_start_token_id=0)
WAV = dict(conv_dim=(24,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, vocab_size=32, mask_time_prob=0.0, layerdrop=0.0, apply_spec_augment=False,
           hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0)
WHISPER = dict(vocab_size=99, num_mel_bins=16, d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=4,
               decoder_ffn_dim=32, max_source_positions=40, classifier_proj_size=24, pad_token_id=0, bos_token_id=1, eos_token_id=2)
TRANSFORMERS = {
    "bert-base": ("Bert", "ForSequenceClassification", dict(num_labels=3)),
    "minilm-l6": ("Bert", "ForSequenceClassification", dict(num_labels=3, hidden_size=384, num_hidden_layers=6, intermediate_size=1536)),
    "bert-tiny": ("Bert", "ForSequenceClassification", BERT_TINY),
    "bert-tiny-gelu-new": ("Bert", "ForSequenceClassification", {**BERT_TINY, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    "bert-qa": ("Bert", "ForQuestionAnswering", dict(num_hidden_layers=4)),
    "bert-ner": ("Bert", "ForTokenClassification", dict(num_hidden_layers=4, num_labels=9)),
    "distilbert-tiny": ("DistilBert", "ForSequenceClassification", dict(num_labels=3, **DISTIL)),
    "distilbert-tiny-qa": ("DistilBert", "ForQuestionAnswering", DISTIL),
    "roberta-tiny": ("Roberta", "ForSequenceClassification", dict(num_labels=3, layer_norm_eps=1e-5, type_vocab_size=1, **TINY, **TEXT)),
    "xlm-roberta-tiny-ner": ("XLMRoberta", "ForTokenClassification", dict(num_labels=9, **TINY, **TEXT)),
    "electra-tiny": ("Electra", "ForSequenceClassification", dict(num_labels=3, embedding_size=32, **TINY, **TEXT)),
    "electra-tiny-ner": ("Electra", "ForTokenClassification", dict(num_labels=9, embedding_size=64, **TINY, **TEXT)),
    "mpnet-tiny": ("MPNet", "ForSequenceClassification", dict(num_labels=3, **TINY, **TEXT)),
    "albert-tiny": ("Albert", "ForSequenceClassification", dict(num_labels=3, embedding_size=32, **TINY, **TEXT)),
    "albert-tiny-groups": ("Albert", "ForSequenceClassification", dict(num_labels=3, embedding_size=32, num_hidden_groups=2, inner_group_num=2, **TINY, **TEXT)),
    "deberta-v3-tiny": ("DebertaV2", "ForSequenceClassification", dict(num_labels=3, **DEBERTA, **TINY, **TEXT)),
    "deberta-v2-tiny-conv": ("DebertaV2", "ForSequenceClassification", {**dict(num_labels=3, conv_kernel_size=3, conv_act="gelu", **TINY, **TEXT), **DEBERTA, "share_att_key": False, "position_biased_input": True, "type_vocab_size": 2}),
    "deberta-v2-tiny-linear": ("DebertaV2", "ForTokenClassification", dict(num_labels=9, relative_attention=True, max_relative_positions=16, pos_att_type=["c2p"], **TINY, **TEXT)),
    "t5-tiny": ("T5", "ForConditionalGeneration", T5),
    "t5-tiny-gated": ("T5", "EncoderModel", dict(feed_forward_proj="gated-gelu", **T5)),
    "vit-tiny": ("ViT", "ForImageClassification", dict(num_labels=3, image_size=32, patch_size=8, **TINY)),
    "vit-tiny-model": ("ViT", "Model", dict(image_size=32, patch_size=8, qkv_bias=False, **TINY)),
    "deit-tiny": ("DeiT", "ForImageClassification", dict(num_labels=3, image_size=32, patch_size=8, **TINY)),
    "deit-tiny-teacher": ("DeiT", "ForImageClassificationWithTeacher", dict(num_labels=3, image_size=32, patch_size=8, **TINY)),
    "convnext-tiny-hf": ("ConvNext", "ForImageClassification", dict(num_labels=3, hidden_sizes=[16, 24, 32], depths=[1, 2, 1], num_stages=3, image_size=64)),
    "wav2vec2-tiny": ("Wav2Vec2", "ForCTC", dict(**WAV, **TINY)),
    "wav2vec2-tiny-stable": ("Wav2Vec2", "ForSequenceClassification", dict(num_labels=3, classifier_proj_size=24, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, **WAV, **TINY)),
    "whisper-tiny-encoder": ("Whisper", "ForAudioClassification", dict(num_labels=3, **WHISPER)),
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
    if name.startswith("timm/"):
        kw = dict(img_size=TIMM[name[5:]]) if name.startswith("timm/vit") else {}
        return filled(timm.create_model(name[5:], num_classes=10, **kw)), TIMM[name[5:]], "timm"
    kw = dict(init_weights=False, aux_logits=True, transform_input=False) if name == "inception_v3" else {}
    if name.startswith(("efficientnet", "convnext")): kw = dict(stochastic_depth_prob=0.0)
    if name.startswith("vit"): kw = dict(image_size=TORCHVISION[name])
    return filled(getattr(torchvision.models, name)(weights=None, num_classes=10, **kw)), {**TORCHVISION, **EXTRA}[name], "torchvision"

def make_image(name):
    model, size_px, source = image_model(name); x = image(2, size_px)
    def run(m):
        out = m(x)
        return out if torch.is_tensor(out) else out.logits  # the auxiliary head is left out of the loss
    n = sum(p.numel() for p in model.parameters())
    return dict(input=["image", 2, size_px], labels=[3, 7], source=source, **classifier(model, run, torch.tensor([3, 7])), n_parameters=n)

def trained_by(loss, model, **answers):
    """What a loss of the model's own gives: for heads without classes by row."""
    loss.backward()
    return {**answers, "loss": loss.item(), "grad_norms_eval": grad_norms(model)}

def make_transformers(name):
    family, head, overrides = TRANSFORMERS[name]
    config = getattr(transformers, f"{family}Config")(**overrides); config._attn_implementation = "eager"
    model = filled(getattr(transformers, family + head)(config)).eval()
    n = sum(p.numel() for p in model.parameters())
    rec = dict(source="transformers", config_class=f"{family}Config", model_class=family + head, overrides=overrides, n_parameters=n)
    classes = torch.tensor([2, 0]); by_class = dict(labels=classes.tolist())
    if family in ("ViT", "DeiT", "ConvNext"):
        rec.update(input=["image", 2, config.image_size]); x = image(2, config.image_size)
        if head == "Model":
            out = model(x).last_hidden_state
            return {**rec, **trained_by(out.square().mean(), model, hidden_stats=stats(out))}
        return {**rec, **by_class, **classifier(model, lambda m: m(x).logits, classes)}
    if family == "Wav2Vec2":
        rec.update(input=["waveform", 2, 2000]); x = torch.from_numpy((2 * uniform("input", 2 * 2000) - 1).astype(np.float32)).reshape(2, 2000)
        if head == "ForCTC":
            labels = torch.tensor([[5, 9], [7, 2]]); out = model(x, labels=labels)
            rec = trained_by(out.loss, model, **rec, labels=labels.tolist(), logits_stats=stats(out.logits), frames=out.logits.shape[1])
            return {"ctc_loss": rec.pop("loss"), **rec}
        return {**rec, **by_class, **classifier(model, lambda m: m(x).logits, classes)}
    if family == "Whisper":
        shape = (2, config.num_mel_bins, 2 * config.max_source_positions); rec.update(input=["mel", *shape])
        x = torch.from_numpy((2 * uniform("input", math.prod(shape)) - 1).astype(np.float32)).reshape(shape)
        return {**rec, **by_class, **classifier(model, lambda m: m(x).logits, classes)}
    if family == "T5":
        ids = tokens(2, 30, config.vocab_size); rec.update(input_ids=ids.tolist())
        if head == "EncoderModel":
            out = model(ids).last_hidden_state
            return {**rec, **trained_by(out.square().mean(), model, hidden_stats=stats(out))}
        labels = torch.from_numpy((uniform("target", 2 * 24) * config.vocab_size).astype(np.int64)).reshape(2, 24); out = model(input_ids=ids, labels=labels)
        return trained_by(out.loss, model, **rec, labels=labels.tolist(), logits_stats=stats(out.logits))
    ids = tokens(2, 24, config.vocab_size)
    if head == "ForSequenceClassification":
        ids[ids == config.pad_token_id] = 5; mask = torch.ones_like(ids); mask[1, 16:] = 0; ids[1, 16:] = config.pad_token_id or 0
        hidden = stats(model.base_model(ids, attention_mask=mask).last_hidden_state[0])
        rec.update(input_ids=ids.tolist(), attention_mask=mask.tolist(), **by_class, last_hidden_stats_first_sequence=hidden)
        return {**rec, **classifier(model, lambda m: m(ids, attention_mask=mask).logits, classes)}
    if head == "ForQuestionAnswering":
        out = model(ids, start_positions=torch.tensor([3, 5]), end_positions=torch.tensor([6, 9]))
        return trained_by(out.loss, model, **rec, input_ids=ids.tolist(), start=out.start_logits.tolist(), end=out.end_logits.tolist())
    labels = tokens(2, 24, 9); out = model(ids, labels=labels)
    return trained_by(out.loss, model, **rec, input_ids=ids.tolist(), labels=labels.tolist(), logits_first=out.logits[0, 0].tolist())

def main():
    folder, names = sys.argv[1], sys.argv[2:] or [*TORCHVISION, *(f"timm/{n}" for n in TIMM), *TRANSFORMERS]
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, transformers)}
    for name in names:
        torch.manual_seed(0); rec = make_transformers(name) if name in TRANSFORMERS else make_image(name)
        with open(f"{folder}/{name.replace('/', '_')}.json", "w") as f: f.write(json.dumps({"name": name, **versions, **rec}, separators=(",", ":")) + "\n")
        print(name, "ok", flush=True)

if __name__ == "__main__":
    main()
