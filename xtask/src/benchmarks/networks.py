"""What PyTorch and onnxruntime do on this machine, for `cargo xtask benchmarks`: one JSON line.
usage: python networks.py THREADS forward|step ARCH BATCH torch|torch-bf16|onnxruntime|onnxruntime-int8

Networks have random weights and, as Headstart's, ten classes; texts have 128 tokens.  Convolutional networks run with channels
last, which is PyTorch's fastest layout."""
import json, resource, statistics, sys, tempfile, time
import torch

TOKENS, CLASSES, WARM, COUNTED = 128, 10, 2, 5
BERT = {"bert-base": {}, "minilm-l6": dict(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)}


def network(arch, batch):
    """The network, and a batch for it."""
    if arch in BERT:
        from transformers import BertConfig, BertForSequenceClassification
        whole = BertForSequenceClassification(BertConfig(num_labels=CLASSES, **BERT[arch]))

        class LogitsOnly(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.whole = whole

            def forward(self, ids, mask):
                return self.whole(input_ids=ids, attention_mask=mask).logits

        ids = torch.randint(0, 20_000, (batch, TOKENS))
        return LogitsOnly(), (ids, torch.ones_like(ids))
    if arch.startswith("tf_"):
        import timm
        model = timm.create_model(arch, pretrained=False, num_classes=CLASSES)
    else:
        import torchvision
        # Headstart's has no second classifier, and scipy's initial weights take a minute.
        inception = dict(aux_logits=False, init_weights=False) if arch == "inception_v3" else {}
        model = getattr(torchvision.models, arch)(weights=None, num_classes=CLASSES, **inception)
    size = 299 if arch == "inception_v3" else 224
    pictures = torch.randn(batch, 3, size, size)
    return model.to(memory_format=torch.channels_last), (pictures.to(memory_format=torch.channels_last),)


def in_onnxruntime(model, inputs, threads, int8):
    """A function that runs the exported network."""
    import onnxruntime as ort
    file = tempfile.NamedTemporaryFile(suffix=".onnx")
    names = [f"input{i}" for i in range(len(inputs))]
    torch.onnx.export(model, inputs, file.name, input_names=names, opset_version=17, dynamo=False)
    path = file.name
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        path = file.name + ".int8"
        quantize_dynamic(file.name, path, weight_type=QuantType.QInt8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, feed)


def in_torch(model, inputs, bf16):
    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(*inputs)
    return run


def stepping(model, inputs, batch, bf16):
    """A function that makes one step: forward, backward, AdamW."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    labels = torch.arange(batch) % CLASSES

    def run():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(*inputs)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimiser.step()
    return run


def main():
    threads, work, arch, batch, engine = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, inputs = network(arch, batch)
    bf16 = engine == "torch-bf16"
    if work == "step":
        run = stepping(model, inputs, batch, bf16)
    else:
        model.eval()
        run = in_torch(model, inputs, bf16) if engine.startswith("torch") else \
            in_onnxruntime(model, inputs, threads, engine.endswith("int8"))
    seconds = []
    for _ in range(WARM + COUNTED):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"items_per_s": batch / statistics.median(seconds[WARM:]), "peak_mb": peak}))


main()
