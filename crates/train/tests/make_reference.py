"""Fits scikit-learn's logistic regression on a data set made by a formula, for tests/reference.rs.
usage: python crates/train/tests/make_reference.py > crates/train/tests/reference.json   (scikit-learn 1.9.1)"""
import json, sys
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

N, D = 120, 12


def splitmix(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield ((z ^ (z >> 31)) >> 40) / 2**24 - 0.5


def data():
    """Features of very different spread and offset that share a latent factor; the last one is constant."""
    u, x = splitmix(42), np.zeros((N, D), np.float32)
    y = np.array([(0, 0, 1, 1, 2, 0, 1)[i % 7] for i in range(N)])
    for i in range(N):
        latent = next(u)
        for j in range(D - 1):
            x[i, j] = (next(u) + 2.0 * latent + (0.5 if j % 3 == y[i] else 0.0)) * (j + 1) + 4.0 * j
        x[i, D - 1] = 3.0
    return x, y


def fit(classes, C, balanced, scaling, norm):
    x, y = data()
    if classes == 2: y = np.minimum(y, 1)
    x = x.astype(np.float64)
    if norm: x = normalize(x)
    scaler = StandardScaler().fit(x)
    std = np.where(np.ptp(x, axis=0) == 0, np.inf, scaler.scale_)  # normalised rows make the constant vary
    if scaling == "Common": std = np.where(np.isinf(std), np.inf, np.sqrt(np.mean(std[np.isfinite(std)] ** 2)))
    z = (x - scaler.mean_) / std
    m = LogisticRegression(C=C, class_weight="balanced" if balanced else None, tol=1e-12, max_iter=100000).fit(z, y)
    w, b = (np.vstack([-m.coef_ / 2, m.coef_ / 2]), np.r_[-m.intercept_ / 2, m.intercept_ / 2]) if classes == 2 else (m.coef_, m.intercept_)
    w = w / std
    b = b - w @ scaler.mean_
    return dict(n_classes=classes, l2=(2 if classes == 2 else 1) / (C * N), class_weights=balanced, per_feature=scaling == "PerFeature", normalise=norm,
                weight=w.ravel().tolist(), bias=(b - b.mean()).tolist(), probabilities=m.predict_proba(z[:7]).ravel().tolist())


if __name__ == "__main__":
    cases = [fit(c, C, b, s, False) for c in (2, 3) for C in (0.01, 1, 100) for b in (False, True) for s in ("Common", "PerFeature")]
    cases += [fit(3, 10, False, s, True) for s in ("Common", "PerFeature")]
    x, y = data()
    print(json.dumps(dict(scikit_learn=sklearn.__version__, first_row=x[0].tolist(), cases=cases)))
