"""scikit-learn's NearestCentroid, and prototypes judged without each row by brute force, on data made by a formula, for
tests/prototype.rs.
usage: python crates/train/tests/make_prototype_reference.py > crates/train/tests/prototype_reference.json   (scikit-learn 1.9.1)"""
import json
import numpy as np, scipy, sklearn
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

D, K = 10, 4


def data(shots, n_test):
    """Rows of K classes: `shots[c]` to learn from, then `n_test` of each class.  Integers over 100, the same in f32 anywhere."""
    state, rows, labels = 12345, [], []
    for c, n in [*enumerate(shots), *((c, n_test) for c in range(K))]:
        for _ in range(n):
            row = []
            for j in range(D):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                row.append(((state >> 33) % 300 + (120 if j % K == c else 0)) / 100)
            rows.append(row)
            labels.append(c)
    return np.array(rows, np.float32), np.array(labels)


def prototypes(x, y, cosine):
    p = np.array([x[y == c].mean(0) for c in range(K)])
    return normalize(p) if cosine else p


def nearness(x, p, cosine):
    return x @ p.T if cosine else -((x[:, None] - p[None]) ** 2).sum(-1)


def case(shots, cosine):
    x, y = data(shots, 6)
    n = sum(shots)
    if cosine: x = normalize(x.astype(np.float64))
    x = x.astype(np.float64)
    x, y, x_test = x[:n], y[:n], x[n:]
    if cosine:
        centroids = prototypes(x, y, True)
        predictions = nearness(x_test, centroids, True).argmax(1)
    else:
        model = NearestCentroid().fit(x, y)
        centroids, predictions = model.centroids_, model.predict(x_test)
    made = dict(shots=shots, cosine=cosine, first_row=data(shots, 6)[0][0].tolist(), centroids=centroids.ravel().tolist(), predictions=predictions.tolist())
    judged = [i for i in range(n) if (y == y[i]).sum() > 1]
    if not judged: return made
    scores = []
    for i in judged:
        keep = np.arange(n) != i
        scores.append(nearness(x[i : i + 1], prototypes(x[keep], y[keep], cosine), cosine)[0])
    scores, truth = np.array(scores), y[judged]
    hard = np.eye(K)[truth]
    targets = np.where(hard == 1, 1 - 1 / (len(judged) + 2), 1 / (len(judged) + 2) / (K - 1))
    loss = lambda log_t, t: -(t * log_softmax(np.exp(log_t) * scores, 1)).sum(1).mean()
    best = minimize_scalar(loss, bounds=(-12, 12), args=(targets,), method="bounded", options=dict(xatol=1e-10))
    made |= dict(temperature=float(np.exp(best.x)), log_loss=float(loss(best.x, hard)), accuracy=float((scores.argmax(1) == truth).mean()))
    if not cosine and len(judged) == n:
        # scikit-learn's own leave-one-out says the same of the brute force above.
        assert made["accuracy"] == cross_val_score(NearestCentroid(), x, y, cv=LeaveOneOut()).mean()
    return made


shots = [[5, 5, 5, 5], [2, 3, 5, 4], [1, 4, 2, 1], [1, 1, 1, 1], [40, 3, 12, 2]]
print(json.dumps(dict(scikit_learn=sklearn.__version__, scipy=scipy.__version__, cases=[case(s, c) for s in shots for c in (False, True)])))
