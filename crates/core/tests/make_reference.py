"""Measures by scikit-learn on made-up predictions with ties, absent classes and weights: writes reference.json.

    python make_reference.py    # scikit-learn 1.7 or later
"""

import json
import pathlib

import numpy as np
from sklearn import metrics as m

rng = np.random.default_rng(11)


def ovr(measure, truth, scores, weights, needs_negatives):
    """Mean over the classes for which the measure is defined."""
    values = []
    for c in range(scores.shape[1]):
        y = truth[:, c]
        present = y[weights > 0]
        if present.any() and not (needs_negatives and present.all()):
            values.append(measure(y, scores[:, c], sample_weight=weights))
    return float(np.mean(values))


def ranked(truth, scores, weights):
    return {
        "auroc": ovr(m.roc_auc_score, truth, scores, weights, True),
        "average_precision": ovr(m.average_precision_score, truth, scores, weights, False),
    }


cases = []
n, k = 60, 4
for weights in (np.ones(n, int), rng.integers(0, 4, n)):
    # Rounded, so that scores tie.
    p = rng.dirichlet(np.ones(k), n).round(1).astype(np.float32)
    y = np.where(rng.random(n) < 0.5, p.argmax(1), rng.integers(0, k - 1, n))
    said = p.argmax(1)
    seen = sorted(set(y[weights > 0]) | set(said[weights > 0]))
    cases.append({
        "task": "classification", "outputs": p.ravel().tolist(), "width": k, "classes": y.tolist(),
        "weights": weights.tolist(),
        "scores": {
            "accuracy": m.accuracy_score(y, said, sample_weight=weights),
            "balanced_accuracy": m.balanced_accuracy_score(y, said, sample_weight=weights),
            "macro_f1": m.f1_score(y, said, sample_weight=weights, average="macro", labels=seen),
            **ranked(np.eye(k, dtype=int)[y], p, weights),
        },
    })
    t = (rng.random((n, k)) < [0.5, 0.2, 0.1, 0.0]).astype(int)
    s = (0.3 * t + rng.random((n, k)) * 0.7).round(1).astype(np.float32)
    said = (s >= 0.5).astype(int)
    cases.append({
        "task": "multi-label", "outputs": s.ravel().tolist(), "width": k,
        "sets": [np.flatnonzero(row).tolist() for row in t], "weights": weights.tolist(),
        "scores": {
            "macro_f1": m.f1_score(t, said, sample_weight=weights, average="macro", zero_division=0),
            **ranked(t, s, weights),
        },
    })
    y = 50 + 10 * rng.standard_normal(n)
    q = (y + 4 * rng.standard_normal(n)).astype(np.float32)
    cases.append({
        "task": "regression", "outputs": q.tolist(), "width": 1, "numbers": y.tolist(), "weights": weights.tolist(),
        "scores": {
            "mae": m.mean_absolute_error(y, q, sample_weight=weights),
            "rmse": m.root_mean_squared_error(y, q, sample_weight=weights),
            "r2": m.r2_score(y, q, sample_weight=weights),
        },
    })
pathlib.Path(__file__).with_name("reference.json").write_text(json.dumps(cases))
