"""The half of `cargo xtask interop` that runs the real libraries.

    python interop.py make DIR     tiny networks of every family as DIR/NAME/in, with a batch and the reference's numbers
    python interop.py check DIR    loads what Headstart wrote as DIR/NAME/out and compares its logits with DIR/NAME/answers.json

Needs torch, transformers, sentence-transformers; no network, no published weights.
"""
import json, os, sys
import numpy as np, torch, transformers

TOLERANCE = 1e-4
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
TEXT = dict(vocab_size=60, max_position_embeddings=40)
DEBERTA = dict(relative_attention=True, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False)
T5 = dict(vocab_size=60, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
PICTURE = dict(image_size=32, patch_size=8)
CASES = {  # name: (transformers' prefix, class, overrides of the configuration)
    "bert": ("Bert", "ForSequenceClassification", {**SIZES, **TEXT}),
    "bert-mean": ("Bert", "Model", {**SIZES, **TEXT}),
    "bert-masked-lm": ("Bert", "ForMaskedLM", {**SIZES, **TEXT}),
    "distilbert": ("DistilBert", "ForSequenceClassification", dict(vocab_size=60, max_position_embeddings=40, dim=32, n_layers=2, n_heads=4, hidden_dim=48)),
    "roberta": ("Roberta", "ForSequenceClassification", {**SIZES, **TEXT}),
    "roberta-mean": ("Roberta", "Model", {**SIZES, **TEXT}),
    "xlm-roberta": ("XLMRoberta", "ForSequenceClassification", {**SIZES, **TEXT}),
    "electra": ("Electra", "ForSequenceClassification", {**SIZES, **TEXT, "embedding_size": 16}),
    "albert": ("Albert", "ForSequenceClassification", {**SIZES, **TEXT, "embedding_size": 16}),
    "mpnet": ("MPNet", "ForSequenceClassification", {**SIZES, **TEXT}),
    "mpnet-mean": ("MPNet", "Model", {**SIZES, **TEXT}),
    "deberta-v3": ("DebertaV2", "ForSequenceClassification", {**SIZES, **TEXT, **DEBERTA}),
    "t5-encoder": ("T5", "EncoderModel", T5),
    "vit": ("ViT", "ForImageClassification", {**SIZES, **PICTURE}),
    "vit-bare": ("ViT", "Model", {**SIZES, **PICTURE}),
    "deit": ("DeiT", "ForImageClassification", {**SIZES, **PICTURE}),
    "convnext": ("ConvNext", "ForImageClassification", dict(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2, image_size=32)),
}

def tokenizer(folder):
    """Words of a letter each: enough for a folder to be whole."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{chr(97 + i): 2 + i for i in range(26)}}
    t = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")); t.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32).save_pretrained(folder)

def make(root):
    for name, (family, head, overrides) in CASES.items():
        torch.manual_seed(len(name)); folder = f"{root}/{name}/in"; os.makedirs(folder)
        config = getattr(transformers, family + "Config")(**overrides)
        model = getattr(transformers, family + head)(config).eval()
        for p in model.parameters(): torch.nn.init.normal_(p, std=0.2) if p.dim() > 1 else p.data.add_(0.1 * torch.randn_like(p))
        model.save_pretrained(folder)
        rng = np.random.default_rng(len(name))
        if family in ("ViT", "DeiT", "ConvNext"):
            processor = getattr(transformers, family + "ImageProcessor")
            size = dict(size={"shortest_edge": 32}) if family == "ConvNext" else dict(size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32}) if family == "DeiT" else dict(size={"height": 32, "width": 32})
            processor(**size).save_pretrained(folder)
            feed = dict(pixel_values=torch.tensor(rng.normal(size=(2, 3, 32, 32)), dtype=torch.float32)); ours = {"image": feed["pixel_values"]}
        else:
            tokenizer(folder)
            ids = torch.tensor(rng.integers(4, 28, size=(2, 12))); mask = torch.ones_like(ids); mask[1, 9:] = 0; ids[mask == 0] = config.pad_token_id
            ours = feed = dict(input_ids=ids, attention_mask=mask)
        with torch.no_grad(): out = (model if head.startswith("For") and head != "ForMaskedLM" else model.base_model)(**feed)
        out = out.logits if "logits" in out else out.last_hidden_state
        if name == "vit-bare": out = out[:, 0]
        if family not in ("ViT", "DeiT", "ConvNext") and out.dim() == 3 and family in ("DebertaV2",): out = out * feed["attention_mask"][..., None]
        arrays = {k: dict(shape=list(v.shape), values=v.flatten().tolist()) for k, v in ours.items()}
        json.dump(dict(inputs=arrays, output=out.flatten().tolist()), open(f"{root}/{name}/batch.json", "w"))

def check(root):
    failed = []
    for name in CASES:
        answers = json.load(open(f"{root}/{name}/answers.json")); folder = f"{root}/{name}/out"
        batch = json.load(open(f"{root}/{name}/batch.json"))["inputs"]
        feed = {("pixel_values" if k == "image" else k): torch.tensor(v["values"]).reshape(v["shape"]) for k, v in batch.items()}
        if answers["class"] == "SentenceTransformer":
            from sentence_transformers import SentenceTransformer
            model = SentenceTransformer(folder, device="cpu").eval()
            with torch.no_grad(): got = model(dict(feed))["sentence_embedding"]
            assert len(model.encode(["a b c"])[0]) == 4
        else:
            config = transformers.AutoConfig.from_pretrained(folder)
            assert config.architectures == [answers["class"]] and config.id2label[1] == "east", config
            model, info = getattr(transformers, answers["class"]).from_pretrained(folder, output_loading_info=True)
            wrong = {k: list(v) for k, v in info.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
            assert not wrong, (name, wrong)
            if "image" in batch: transformers.AutoImageProcessor.from_pretrained(folder)
            else: assert transformers.AutoTokenizer.from_pretrained(folder)("a b")["input_ids"] == [2, 3]
            with torch.no_grad(): got = model.eval()(**feed).logits
        want = torch.tensor(answers["logits"]).reshape(got.shape)
        difference = ((got - want).abs().max() / want.abs().max()).item()
        print(json.dumps(dict(case=name, loads=answers["class"], written=difference, ok=difference <= TOLERANCE)), flush=True)
        if difference > TOLERANCE: failed.append(name)
    sys.exit(f"differ: {', '.join(failed)}" if failed else 0)

if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
