"""Writes tests/data/optim.safetensors: parameters after 60 updates by independent implementations,
from the same gradients: torch.optim.AdamW, Lion as its paper's Algorithm 2 in double precision, and
torch.optim.Muon (whose weights are (out, in)) with its Newton-Schulz iteration in double precision;
and what transformers' schedules multiply the learning rate by, from 0 to the end at 100 (beyond it
their cosine rises again).
Needs torch, transformers and safetensors. Usage: make_optim_fixtures.py OUT"""
import sys

import torch
import transformers
from safetensors.torch import save_file

torch.manual_seed(0)
STEPS, ROWS, COLUMNS = 60, 6, 10
LR, DECAY = 1e-2, 0.1
start = torch.randn(ROWS, COLUMNS)
grads = torch.randn(STEPS, ROWS, COLUMNS) * torch.linspace(2, 0.1, STEPS)[:, None, None] + 0.3
out = {"start": start, "grads": grads}


def run(make, transposed=False, start=start, grads=grads):
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
def run_muon(start, grads):
    make = lambda p: torch.optim.Muon(p, lr=LR, weight_decay=DECAY, momentum=0.95, nesterov=True)
    return run(make, transposed=True, start=start, grads=grads)


out["muon"] = run_muon(start, grads)
out["muon_tall"] = run_muon(start.reshape(10, 6), grads.reshape(STEPS, 10, 6))
# Queries, keys and values in one (C, 3 C) matrix: three parameters.
fused, fused_grads = start.flatten()[:48].reshape(4, 12), grads.reshape(STEPS, 60)[:, :48].reshape(STEPS, 4, 12)
parts = [slice(i, i + 4) for i in (0, 4, 8)]
out["muon_fused"] = torch.cat([run_muon(fused[:, p], fused_grads[:, :, p]) for p in parts], dim=1)
# What is no matrix is AdamW's, at a rate of its own.
out["muon_embedding"] = run(lambda p: torch.optim.AdamW(p, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY))

schedules = {
    "constant": lambda o: transformers.get_constant_schedule_with_warmup(o, 10),
    "linear": lambda o: transformers.get_linear_schedule_with_warmup(o, 10, 100),  # to 0
    "cosine": lambda o: transformers.get_cosine_with_min_lr_schedule_with_warmup(o, 10, 100, min_lr_rate=0.1),
    # to 0: a ratio above it would also raise the start of their warm-up
    "wsd": lambda o: transformers.get_wsd_schedule(o, 10, 20, num_training_steps=100, decay_type="linear"),
}
for name, make in schedules.items():
    factor = make(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)).lr_lambdas[0]
    out["schedule_" + name] = torch.tensor([factor(t) for t in range(101)], dtype=torch.float32)

save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1])
print({k: float(v.abs().sum()) for k, v in out.items()})
