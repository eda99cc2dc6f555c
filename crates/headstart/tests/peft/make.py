"""Adapters that the PEFT library wrote, on tiny networks that transformers wrote, with what they answer.

    python make.py          writes the folders beside this file and expected.json

Needs torch, transformers, peft, tokenizers; no network, no published weights.
"""
import json, os, pathlib, shutil
import numpy as np, peft, torch, transformers
from peft import IA3Config, LoraConfig

HERE = pathlib.Path(__file__).parent
SIZES = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
TEXT = dict(vocab_size=30, max_position_embeddings=16, num_labels=3)
DEBERTA = dict(relative_attention=True, position_buckets=4, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False)
BASES = {  # name: (transformers' prefix, class, configuration)
    "bert": ("Bert", "ForSequenceClassification", {**SIZES, **TEXT}),
    "bert-mlm": ("Bert", "ForMaskedLM", {**SIZES, **TEXT, "num_hidden_layers": 1}),
    "distilbert": ("DistilBert", "ForSequenceClassification", dict(vocab_size=30, max_position_embeddings=16, dim=8, n_layers=1, n_heads=2, hidden_dim=12, num_labels=3)),
    "roberta": ("Roberta", "ForSequenceClassification", {**SIZES, **TEXT, "num_hidden_layers": 1}),
    "albert": ("Albert", "ForSequenceClassification", {**SIZES, **TEXT, "embedding_size": 8}),
    "deberta": ("DebertaV2", "ForSequenceClassification", {**SIZES, **TEXT, **DEBERTA, "num_hidden_layers": 1}),
    "vit": ("ViT", "ForImageClassification", {**SIZES, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4, "num_labels": 3}),
}
ADAPTERS = {  # name: (base, class if not the base's own, configuration)
    "bert-lora": ("bert", None, LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=3, use_rslora=True, target_modules=["query", "dense"], bias="lora_only", rank_pattern={"layer.1.output.dense": 3, "query": 1}, alpha_pattern={r"layer\.0\..*": 5})),
    "bert-dora": ("bert", None, LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules="all-linear", modules_to_save=["classifier"])),
    "bert-words": ("bert", None, LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=r".*(word_embeddings|layer\.1\..*value)", bias="all", fan_in_fan_out=False)),
    "bert-head": ("bert-mlm", "ForSequenceClassification", LoraConfig(task_type="SEQ_CLS", r=1, target_modules=["key", "value"], modules_to_save=["pooler"])),
    "bert-features": ("bert-mlm", "Model", LoraConfig(task_type="FEATURE_EXTRACTION", r=2, target_modules=["query"], layers_to_transform=[0])),
    "distilbert-lora": ("distilbert", None, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_lin", "lin2"])),
    "roberta-ia3": ("roberta", None, IA3Config(task_type="SEQ_CLS")),
    "albert-lora": ("albert", None, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "ffn"])),
    "deberta-lora": ("deberta", None, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query_proj", "key_proj"])),
    "vit-dora": ("vit", None, LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "projection", "fc1"], modules_to_save=["classifier"])),
    "vit-ia3": ("vit", None, IA3Config(target_modules=["k_proj", "projection", "fc2"], feedforward_modules=["fc2"], modules_to_save=["classifier"])),
}

def randomise(model):
    for name, p in model.named_parameters():
        if "lora_magnitude" in name: p.data.mul_(1 + 0.3 * torch.rand_like(p))
        elif "ia3_l" in name: p.data.copy_(1 + 0.3 * torch.randn_like(p))
        elif p.dim() > 1: torch.nn.init.normal_(p, std=0.3)
        else: p.data.add_(0.1 * torch.randn_like(p))

def save_quietly(model, folder):
    model.save_pretrained(folder)
    for name in ("README.md", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)

def base(name):
    family, head, settings = BASES[name]; folder = HERE / name
    torch.manual_seed(len(name))
    model = getattr(transformers, family + head)(getattr(transformers, family + "Config")(**settings)).eval()
    randomise(model); save_quietly(model, folder)
    if name == "vit": transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)
    if name in ("bert", "deberta"):
        from tokenizers import Tokenizer, models, pre_tokenizers
        vocabulary = {"[PAD]": 0, "[UNK]": 1, **{chr(97 + i): 2 + i for i in range(26)}}
        words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")); words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.save(str(folder / "tokenizer.json"))

def adapter(name):
    on, head, config = ADAPTERS[name]; family, own, _ = BASES[on]; folder = HERE / name
    torch.manual_seed(len(name)); rng = np.random.default_rng(len(name))
    options = {} if head == "Model" else {"num_labels": 3}
    model = getattr(transformers, family + (head or own)).from_pretrained(HERE / on, **options)
    plain = model.eval()
    if on == "vit":
        feed = dict(pixel_values=torch.tensor(rng.normal(size=(2, 3, 8, 8)), dtype=torch.float32))
    else:
        ids = torch.tensor(rng.integers(4, 28, size=(2, 7))); mask = torch.ones_like(ids); mask[1, 5:] = 0; ids[mask == 0] = model.config.pad_token_id
        feed = dict(input_ids=ids, attention_mask=mask)
    first = lambda out: (out.logits if "logits" in out else out.last_hidden_state).detach()
    without = first(plain(**feed))
    model = peft.get_peft_model(model, config).eval()
    torch.manual_seed(7 + len(name))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    randomise(model)
    learns = {k for k, p in model.named_parameters() if p.requires_grad}
    for k, v in model.state_dict().items():
        if k not in learns: v.copy_(before[k])
    for p in model.peft_config.values(): p.base_model_name_or_path = f"../{on}"
    save_quietly(model, folder)
    # As anybody loads it.
    again = getattr(transformers, family + (head or own)).from_pretrained(HERE / on, **options)
    again = peft.PeftModel.from_pretrained(again, folder).eval()
    output = first(again(**feed))
    assert (output - first(model(**feed))).abs().max() < 1e-6 and (output - without).abs().max() > 0.05, name
    ours = {"image": feed["pixel_values"]} if on == "vit" else feed
    arrays = {k: dict(shape=list(v.shape), values=[round(x, 6) if isinstance(x, float) else x for x in v.flatten().tolist()]) for k, v in ours.items()}
    if on == "vit":  # What was rounded is what is asked.
        output = first(again(pixel_values=torch.tensor(arrays["image"]["values"]).reshape(2, 3, 8, 8)))
    return dict(adapter=name, base=on, has_own_head=head is not None, inputs=arrays, output=output.flatten().tolist())

if __name__ == "__main__":
    for name in [*BASES, *ADAPTERS]: shutil.rmtree(HERE / name, ignore_errors=True)
    for name in BASES: base(name)
    cases = [adapter(name) for name in ADAPTERS]
    json.dump(cases, open(HERE / "expected.json", "w"), separators=(",", ":"))
