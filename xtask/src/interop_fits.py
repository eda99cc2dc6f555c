"""The half of `cargo xtask interop` that is about adapters and fitted networks: PEFT, transformers and onnxruntime judge.

    python interop_fits.py make DIR     adapters by PEFT on the networks that interop.py made, DIR/NAME/peft-KIND, and data to fit
    python interop_fits.py check DIR    loads what Headstart exported of its fits, DIR/NAME/fit-KIND/{peft,hf,net.onnx}, and compares

Needs peft and onnxruntime besides what interop.py needs.
"""
import json, os, sys, warnings
import numpy as np, peft, torch, transformers
from interop import CASES, TOLERANCE

PICTURES = ("ViT", "DeiT", "ConvNext")
LEAVES = {  # module names of (IA)³: behind, before
    "DistilBert": (["k_lin", "v_lin"], ["lin2"]), "T5": (["k", "v"], ["wo"]), "ViT": (["k_proj", "projection"], ["fc2"]), "DeiT": (["k_proj", "v_proj"], ["fc2"]),
    "ConvNext": (["pwconv1"], ["pwconv2"]), "MPNet": (["k", "v"], ["output.dense"]), "Albert": (["key", "value"], ["ffn_output"]), "DebertaV2": (["key_proj", "value_proj"], ["output.dense"]),
}

def feed_of(case):
    asked = json.load(open(f"{case}/batch.json"))["inputs"]
    return {("pixel_values" if k == "image" else k): torch.tensor(v["values"]).reshape(v["shape"]) for k, v in asked.items()}

def configs(family):
    behind, before = LEAVES.get(family, (["key", "value"], ["output.dense"]))
    yield "lora", peft.LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", init_lora_weights=False, use_rslora=True)
    yield "dora", peft.LoraConfig(r=2, lora_alpha=3, target_modules=behind + before, init_lora_weights=False, use_dora=True, rank_pattern={behind[0]: 3})
    yield "ia3", peft.IA3Config(target_modules=behind + before, feedforward_modules=before)

def make(root):
    for name, (family, head, _) in CASES.items():
        if head == "ForMaskedLM": continue
        for kind, config in configs(family):
            torch.manual_seed(len(name))
            model = getattr(transformers, family + head).from_pretrained(f"{root}/{name}/in")
            adapted = peft.get_peft_model(model, config).eval()
            for key, p in adapted.named_parameters():
                if "ia3_l" in key or "magnitude" in key: p.data.mul_(1 + 0.3 * torch.randn_like(p))
                elif "lora_" in key: torch.nn.init.normal_(p, std=0.2)
            adapted.save_pretrained(f"{root}/{name}/peft-{kind}")
            with torch.no_grad(): out = (model if head.startswith("For") else model.base_model)(**feed_of(f"{root}/{name}"))
            out = out.logits if "logits" in out else out.last_hidden_state
            if name == "vit-bare": out = out[:, 0]
            json.dump(out.flatten().tolist(), open(f"{root}/{name}/peft-{kind}/answers.json", "w"))
    data(f"{root}/data")

def data(folder):
    """Two classes each of texts and pictures."""
    from PIL import Image
    rng = np.random.default_rng(1); os.makedirs(folder)
    with open(f"{folder}/letters.csv", "w") as f:
        f.write("text,label\n")
        for i in range(40): f.write(" ".join([chr(97 + c) for c in rng.integers(2, 26, size=4 + i % 4)] + ["ab"[i % 2]]) + f",{['yes', 'no'][i % 2]}\n")
    for i in range(40):
        os.makedirs(f"{folder}/pictures/{['dark', 'light'][i % 2]}", exist_ok=True)
        Image.fromarray(rng.integers(0, 120, size=(32, 32, 3), dtype=np.uint8) + np.uint8(100 * (i % 2))).save(f"{folder}/pictures/{['dark', 'light'][i % 2]}/{i}.png")

def loaded(folder, base, loader, feed):
    """Logits by the class that Headstart says loads what it wrote."""
    if loader.endswith("SentenceTransformer"):
        from sentence_transformers import SentenceTransformer
        return SentenceTransformer(folder, device="cpu").eval()(dict(feed))["sentence_embedding"]
    if loader.startswith("PeftModel on "):
        plain = getattr(transformers, loader.removeprefix("PeftModel on ")).from_pretrained(base, num_labels=2, ignore_mismatched_sizes=True)
        return peft.PeftModel.from_pretrained(plain, folder).eval()(**feed).logits
    return getattr(transformers, loader).from_pretrained(folder).eval()(**feed).logits

def by_onnxruntime(path, feed):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ours = {("image" if k == "pixel_values" else k): v.numpy() for k, v in feed.items()}
    for given in session.get_inputs(): ours.setdefault(given.name, np.zeros_like(ours.get("input_ids")))
    return torch.tensor(session.run(None, {i.name: ours[i.name] for i in session.get_inputs()})[0])

def check(root):
    failed = []; print(f"{'network':16} {'recipe':6} {'export':6} {'difference':>10}  loaded by")
    for name in CASES:
        case = f"{root}/{name}"
        for fit in sorted(f for f in os.listdir(case) if f.startswith("fit-") and os.path.exists(f"{case}/{f}/answers.json")):
            answers = json.load(open(f"{case}/{fit}/answers.json")); feed = feed_of(case)
            for kind, loader in answers["loaders"].items():
                if loader.startswith("refused: "):
                    print(f"{name:16} {fit[4:]:6} {kind:6} {'':>10}  {loader}"); continue
                try:
                    with warnings.catch_warnings(), torch.no_grad():
                        warnings.filterwarnings("error", message="Found missing adapter keys")
                        got = by_onnxruntime(f"{case}/{fit}/net.onnx", feed) if kind == "onnx" else loaded(f"{case}/{fit}/{kind}", f"{case}/in", loader, feed)
                    want = torch.tensor(answers["logits"]).reshape(got.shape)
                    difference = ((got - want).abs().max() / want.abs().max().clamp(min=1)).item()
                except Exception as e:
                    difference, loader = float("inf"), f"{loader}: {type(e).__name__}: {e}"
                print(f"{name:16} {fit[4:]:6} {kind:6} {difference:10.1e}  {loader}", flush=True)
                if not difference <= TOLERANCE: failed.append(f"{name} {fit} {kind}")
    sys.exit(f"differ: {', '.join(failed)}" if failed else 0)

if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
