"""Fits scikit-learn's one-versus-rest logistic regression and ridge regression, for tests/reference.rs.
usage: python crates/train/tests/make_heads.py > crates/train/tests/heads.json   (scikit-learn 1.9.1)"""
import json

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from make_reference import N, data

x, classes = data()
x = x.astype(np.float64)
sets = np.array([[int(classes[i] == c or (7 * i + 3 * c) % 5 == 0) for c in range(3)] for i in range(N)])
numbers = np.array([3.0 * x[i, 0] - 0.5 * x[i, 4] + 100.0 + i % 5 for i in range(N)])
scaler = StandardScaler().fit(x)
own = np.where(np.ptp(x, axis=0) == 0, np.inf, scaler.scale_)
common = np.where(np.isinf(own), np.inf, np.sqrt(np.mean(own[np.isfinite(own)] ** 2)))
cases = []
for per_feature, std in ((True, own), (False, common)):
    z = (x - scaler.mean_) / std
    for l2 in (0.1, 0.01, 0.001):
        m = OneVsRestClassifier(LogisticRegression(C=1 / (l2 * N), tol=1e-12, max_iter=100000)).fit(z, sets)
        w = np.vstack([e.coef_[0] for e in m.estimators_]) / std
        b = np.array([e.intercept_[0] for e in m.estimators_]) - w @ scaler.mean_
        cases.append(dict(task="multi-label", l2=l2, per_feature=per_feature, weight=w.ravel().tolist(), bias=b.tolist(),
                          outputs=m.predict_proba(z[:7]).ravel().tolist()))
        r = Ridge(alpha=l2 * N, solver="cholesky").fit(z, numbers)
        w = r.coef_ / std
        cases.append(dict(task="regression", l2=l2, per_feature=per_feature, weight=w.tolist(),
                          bias=[float(r.intercept_ - w @ scaler.mean_)], outputs=r.predict(z[:7]).tolist()))
print(json.dumps(cases))
