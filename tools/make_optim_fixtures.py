"""Writes tests/data/optim.safetensors: parameters after 60 updates by independent implementations,
from the same gradients: torch.optim.AdamW, Lion as its paper's Algorithm 2 in double precision, and
torch.optim.Muon (whose weights are (out, in)) with its Newton-Schulz iteration in double precision.
Needs torch and safetensors. Usage: make_optim_fixtures.py OUT"""
import sys

import torch
from safetensors.torch import save_file

torch.manual_seed(0)
STEPS, ROWS, COLUMNS = 60, 6, 10
LR, DECAY = 1e-2, 0.1
start = torch.randn(ROWS, COLUMNS)
grads = torch.randn(STEPS, ROWS, COLUMNS) * torch.linspace(2, 0.1, STEPS)[:, None, None] + 0.3
out = {"start": start, "grads": grads}


def run(make, transposed=False):
    p = torch.nn.Parameter((start.T if transposed else start).double().clone().contiguous())
    optimizer = make([p])
    for g in grads:
        p.grad = (g.T if transposed else g).double().contiguous()
        optimizer.step()
    return (p.detach().T if transposed else p.detach()).float().contiguous()


out["adamw"] = run(lambda p: torch.optim.AdamW(p, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY))

w, m = start.double().clone(), torch.zeros(ROWS, COLUMNS).double()
for g in grads.double():
    c = 0.9 * m + 0.1 * g
    w -= LR * (torch.sign(c) + DECAY * w)
    m = 0.99 * m + 0.01 * g
out["lion"] = w.float()

# torch's iteration runs in bfloat16 only because it casts; the same steps in double:
import torch.optim._muon as muon


def newton_schulz(grad, coefficients, steps, eps):
    a, b, c = coefficients
    x = grad.double()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


muon._zeropower_via_newtonschulz = newton_schulz
out["muon"] = run(lambda p: torch.optim.Muon(p, lr=LR, weight_decay=DECAY, momentum=0.95, nesterov=True), transposed=True)
save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1])
print({k: float(v.abs().sum()) for k, v in out.items()})
