"""FixMatch's unlabelled loss as PyTorch computes it, for src/fixmatch/tests.rs.
usage: python crates/train/tests/make_fixmatch_reference.py > crates/train/tests/fixmatch_reference.json   (torch 2.15)"""
import json
import torch
import torch.nn.functional as F

N, K, THRESHOLD, WEIGHT = 10, 4, 0.8, 1.5
torch.manual_seed(0)
weak = torch.softmax(3 * torch.randn(N, K), -1)
strong = torch.randn(N, K, requires_grad=True)
confidence, labels = weak.max(-1)
mask = confidence.ge(THRESHOLD)
loss = WEIGHT * (F.cross_entropy(strong, labels, reduction="none") * mask.float()).mean()
loss.backward()

print(json.dumps(dict(torch=torch.__version__, n_classes=K, threshold=THRESHOLD, weight=WEIGHT, weak=weak.flatten().tolist(),
    strong=strong.detach().flatten().tolist(), labels=labels.tolist(), mask=mask.tolist(), loss=loss.item(),
    gradient=strong.grad.flatten().tolist())))
