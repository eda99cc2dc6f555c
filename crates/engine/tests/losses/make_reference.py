"""Losses and their gradients by PyTorch and torchvision, for src/loss/tests.rs: writes reference.json.

    python make_reference.py    # torch 2.x, torchvision
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

torch.manual_seed(5)
cases = []


def add(loss, outputs, targets, value, **settings):
    value.backward()
    cases.append({
        "loss": loss, "width": outputs.shape[1], "outputs": outputs.detach().flatten().tolist(),
        "targets": targets.flatten().tolist(), "value": value.item(), "gradient": outputs.grad.flatten().tolist(),
        **settings,
    })


def logits(n, k, spread=2.0):
    return (spread * torch.randn(n, k)).requires_grad_()


n, k = 6, 4
w = torch.tensor([0.5, 2.0, 1.0, 3.0])
labels = torch.tensor([0, 1, 2, 3, 1, 1])
one_hot = F.one_hot(labels, k).float()
soft = torch.softmax(torch.randn(n, k), 1)
for smoothing in (0.0, 0.1):
    for weights in (None, w):
        x = logits(n, k)
        settings = {"label_smoothing": smoothing, "weights": None if weights is None else weights.tolist()}
        add("cross_entropy", x, one_hot, F.cross_entropy(x, labels, weights, label_smoothing=smoothing), **settings)
    x = logits(n, k)
    add("cross_entropy", x, soft, F.cross_entropy(x, soft, label_smoothing=smoothing), label_smoothing=smoothing,
        weights=None)
x = logits(n, k)
# PyTorch divides by n here, we by the weight present.
value = F.cross_entropy(x, soft, w) * n / (soft * w).sum()
add("cross_entropy", x, soft, value, label_smoothing=0.0, weights=w.tolist())

hot = (torch.rand(n, k) < 0.4).float()
for weights in (None, w):
    for t in (hot, soft):
        x = logits(n, k)
        add("binary_cross_entropy", x, t, F.binary_cross_entropy_with_logits(x, t, pos_weight=weights),
            weights=None if weights is None else weights.tolist())

for gamma in (0.0, 1.5, 2.0):
    for weights in (None, w):
        x = logits(n, k)
        log_p = F.log_softmax(x, 1)
        picked = log_p.gather(1, labels[:, None])[:, 0]
        each = torch.ones(n) if weights is None else weights[labels]
        value = -(each * (1 - picked.exp()) ** gamma * picked).sum() / each.sum()
        add("focal", x, one_hot, value, gamma=gamma, weights=None if weights is None else weights.tolist())
    for alpha in (None, 0.25):
        x = logits(n, k)
        value = sigmoid_focal_loss(x, hot, -1 if alpha is None else alpha, gamma, "mean")
        add("binary_focal", x, hot, value, gamma=gamma, alpha=alpha, weights=None)

numbers = torch.randn(n, 1)
x = logits(n, 1)
add("squared_error", x, numbers, F.mse_loss(x, numbers), weights=None)
for delta in (0.5, 1.0):
    x = logits(n, 1)
    add("huber", x, numbers, F.huber_loss(x, numbers, delta=delta), delta=delta, weights=None)
pathlib.Path(__file__).with_name("reference.json").write_text(json.dumps(cases))
