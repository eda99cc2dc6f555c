"""Losses of five AdamW steps on a tiny BERT, by PyTorch and PEFT: everything, LoRA, DoRA and (IA)³, with the head.

Weights are filled as for the golden numbers (`crates/zoo/tests/golden/make.py`), new parameters of adapters too, so that
nothing is stored but what the reference answers.  Needs torch, transformers, peft.

    python make.py > traces.json
"""
import importlib.util, json, pathlib, sys
import numpy as np, peft, torch, transformers

golden = pathlib.Path(__file__).resolve().parents[3] / "crates/zoo/tests/golden/make.py"
spec = importlib.util.spec_from_file_location("golden", golden)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

CONFIG = dict(num_labels=3, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=500,
              hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
LR, DECAY, STEPS = 1e-3, 0.05, 5

def adapter(kind):
    if kind == "full": return None
    if kind == "ia3":
        return peft.IA3Config(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])
    return peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["query", "value"], use_dora=kind == "dora")

def ours(name):
    return name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".default", "")

def run(kind):
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG))
    config = adapter(kind)
    if config is not None: model = peft.get_peft_model(model, config)
    model.train()
    with torch.no_grad():
        for name, p in model.named_parameters():
            name = ours(name)
            if "magnitude" in name: continue
            if "ia3_l" in name:
                p.copy_(torch.from_numpy(0.8 + 0.4 * make.uniform(name, p.numel())).reshape(p.shape).float())
            else:
                p.copy_(torch.as_tensor(make.fill(name, tuple(p.shape))))
        for name, p in model.named_parameters():
            if "magnitude" in name:  # DoRA starts at the norm of the source's weight
                base = dict((ours(n), q) for n, q in model.named_parameters())[ours(name).replace("lora_magnitude_vector.weight", "weight")]
                p.copy_(torch.linalg.norm(base, dim=1).reshape(p.shape))
    learning = []
    for name, p in model.named_parameters():
        p.requires_grad_(kind == "full" or any(k in name for k in ("lora_", "ia3_l", "classifier")))
        if p.requires_grad: learning.append(p)
    # As here: vectors do not decay.
    decays = [p for p in learning if p.dim() > 1 and not (kind == "ia3" and p.shape[0] == 1 or p.shape[-1] == 1)]
    rest = [p for p in learning if all(p is not q for q in decays)]
    optimiser = torch.optim.AdamW([dict(params=decays, weight_decay=DECAY), dict(params=rest, weight_decay=0.0)], lr=LR)
    ids = torch.from_numpy((make.uniform("ids", 4 * 12) * 500).astype(np.int64)).reshape(4, 12)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    labels = torch.tensor([0, 1, 2, 1])
    losses = []
    for _ in range(STEPS):
        logits = model(input_ids=ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits, labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad(): after = model(input_ids=ids, attention_mask=mask).logits
    return dict(losses=losses, logits_after=after.tolist(), n_learning=sum(p.numel() for p in learning))

made = {kind: run(kind) for kind in ("full", "lora", "dora", "ia3")}
json.dump(dict(torch=torch.__version__, peft=peft.__version__, config=CONFIG,
               lr=LR, weight_decay=DECAY, traces=made), sys.stdout, indent=1)
