"""Writes activation_torch.in: x, and value and slope of GELU, GELU by tanh and SiLU in f64.  usage: python activation_torch.py > activation_torch.in"""
import torch
from torch.nn.functional import gelu, silu

xs = [-20.0, -9.0, -6.0, -4.5, -3.0, -2.25, -1.5, -1.0, -0.75, -0.5, -0.1, -0.001, 0.0,
      0.001, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.25, 3.0, 4.5, 6.0, 9.0, 20.0]
print("[")
for value in xs:
    row = [value]
    for f in (gelu, lambda x: gelu(x, approximate="tanh"), silu):
        x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        y = f(x)
        y.backward()
        row += [y.item(), x.grad.item()]
    print("    [" + ", ".join(repr(r) for r in row) + "],")
print("]")
