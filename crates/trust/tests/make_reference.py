"""Intervals and tests by SciPy, for tests/reference.rs.
usage: python crates/trust/tests/make_reference.py > crates/trust/tests/reference.json   (SciPy 1.17.1)"""
import json
import scipy
from scipy.stats import binomtest

shares = []
for k, n in [(0, 1), (1, 1), (0, 7), (3, 7), (7, 7), (1, 48), (42, 48), (48, 48), (361, 500), (455, 500), (9, 10000), (9990, 10000), (123456, 200000)]:
    test = binomtest(k, n)
    exact, wilson = test.proportion_ci(0.95, "exact"), test.proportion_ci(0.95, "wilson")
    shares.append(dict(n_right=k, n=n, exact=[exact.low, exact.high], wilson=[wilson.low, wilson.high]))
mcnemar = [dict(n_a=a, n_b=b, p=binomtest(a, a + b).pvalue) for a, b in [(1, 0), (5, 0), (6, 0), (2, 9), (10, 10), (30, 12), (1200, 1000), (3, 2000)]]
print(json.dumps(dict(scipy=scipy.__version__, shares=shares, mcnemar=mcnemar), indent=1))
