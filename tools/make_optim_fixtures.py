"""Writes tests/data/optim.safetensors: parameters after 60 updates by independent implementations, from
the same gradients, in double precision; and schedules and averages as other libraries compute them.

To add an optimizer: one entry of OPTIMIZERS, "name": function of (start, grads) to parameters.

Needs torch, transformers, pytorch_optimizer, schedulefree, optax and safetensors.
Usage: make_optim_fixtures.py OUT"""
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytorch_optimizer
import schedulefree
import torch
import torch.optim._muon as torch_muon
import transformers
from safetensors.torch import save_file

jax.config.update("jax_enable_x64", True)
torch.manual_seed(0)
STEPS, ROWS, COLUMNS = 60, 6, 10
LR, DECAY, WARMUP = 1e-2, 0.1, 10
start = torch.randn(ROWS, COLUMNS)
grads = torch.randn(STEPS, ROWS, COLUMNS) * torch.linspace(2, 0.1, STEPS)[:, None, None] + 0.3


def run(make, transposed=False, after=None):
    """A course of torch.optim's kind; `transposed`: for weights that lie (out, in)."""
    def course(start, grads):
        p = torch.nn.Parameter((start.T if transposed else start).double().clone().contiguous())
        optimizer = make([p])
        for g in grads:
            p.grad = (g.T if transposed else g).double().contiguous()
            optimizer.step()
        if after:
            after(optimizer)
        return (p.detach().T if transposed else p.detach()).float().contiguous()
    return course


def run_optax(make):
    def course(start, grads):
        p, optimizer = jnp.asarray(start.double().numpy()), make()
        state = optimizer.init(p)
        for g in grads:
            u, state = optimizer.update(jnp.asarray(g.double().numpy()), state, p)
            p = optax.apply_updates(p, u)
        return torch.from_numpy(np.asarray(p)).float()
    return course


# The libraries' iterations run in bfloat16 only because they cast; the same steps in double:
def newton_schulz(grad, coefficients=(3.4445, -4.7750, 2.0315), steps=5, eps=1e-7, **_):
    a, b, c = coefficients
    x = grad.double()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


torch_muon._zeropower_via_newtonschulz = newton_schulz
sys.modules[pytorch_optimizer.NorMuon.__module__].zero_power_via_newton_schulz_5 = lambda x, **_: newton_schulz(x)


def muon(p):
    return torch.optim.Muon(p, lr=LR, weight_decay=DECAY, momentum=0.95, nesterov=True)


def normuon(p):
    return pytorch_optimizer.NorMuon([{"params": p, "use_muon": True, "lr": LR, "weight_decay": DECAY}], foreach=False)


def cautious_lion(start, grads):  # arXiv:2510.12402, Algorithm 1 over arXiv:2302.06675, Algorithm 2
    w, m = start.double().clone(), torch.zeros(start.shape).double()
    for g in grads.double():
        u = torch.sign(0.9 * m + 0.1 * g)
        w -= LR * (u + DECAY * w * (u * w >= 0))
        m = 0.99 * m + 0.01 * g
    return w.float()


def schedule_free(evaluated):
    make = lambda p: schedulefree.AdamWScheduleFree(p, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY, warmup_steps=WARMUP)
    def course(start, grads):
        optimizer = None
        def train(p):
            nonlocal optimizer
            optimizer = make(p)
            optimizer.train()
            return optimizer
        return run(train, after=lambda o: o.eval() if evaluated else None)(start, grads)
    return course


def adafactor(p):
    return transformers.Adafactor(p, lr=LR, weight_decay=DECAY, scale_parameter=False, relative_step=False, warmup_init=False)


# What is treated as three matrices: queries, keys and values in one (C, 3 C) weight.
def by_parts(course):
    return lambda start, grads: torch.cat([course(start[:, i:i + 4], grads[:, :, i:i + 4]) for i in (0, 4, 8)], dim=1)


def shaped(rows, columns, course):
    n = rows * columns
    return lambda start, grads: course(start.flatten()[:n].reshape(rows, columns), grads.reshape(STEPS, -1)[:, :n].reshape(STEPS, rows, columns))


OPTIMIZERS = {
    "adamw": run(lambda p: torch.optim.AdamW(p, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY)),
    "nadamw": run_optax(lambda: optax.nadamw(LR, b1=0.9, b2=0.95, eps=1e-8, weight_decay=DECAY)),
    "lion": run(lambda p: pytorch_optimizer.Lion(p, lr=LR, betas=(0.9, 0.99), weight_decay=DECAY, weight_decouple=True)),
    "lion_uncoupled": run(lambda p: pytorch_optimizer.Lion(p, lr=LR, betas=(0.9, 0.99), weight_decay=DECAY, weight_decouple=True, fixed_decay=True)),
    "lion_cautious": cautious_lion,
    "schedule_free_adamw": schedule_free(evaluated=False),
    "schedule_free_adamw_used": schedule_free(evaluated=True),
    "muon": run(muon, transposed=True),
    "muon_tall": shaped(10, 6, run(muon, transposed=True)),
    "muon_fused": shaped(4, 12, by_parts(run(muon, transposed=True))),
    # What is no matrix is AdamW's, at a rate of its own.
    "muon_embedding": run(lambda p: torch.optim.AdamW(p, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY)),
    "normuon": run(normuon, transposed=True),
    "normuon_tall": shaped(10, 6, run(normuon, transposed=True)),
    "normuon_fused": shaped(4, 12, by_parts(run(normuon, transposed=True))),
    "adafactor": run(adafactor),
    "adafactor_vector": lambda start, grads: run(adafactor)(start.flatten(), grads.reshape(STEPS, -1)).reshape(ROWS, COLUMNS),
    # An average of AdamW's weights: begun by the first update, as torch does.
    "ema": None,
}


def averaged(start, grads):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    model = torch.nn.Linear(1, 1)
    model.weight = torch.nn.Parameter(start.double().clone())
    model.bias = None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY)
    for g in grads:
        model.weight.grad = g.double()
        optimizer.step()
        average.update_parameters(model)
    return average.module.weight.detach().float()


OPTIMIZERS["ema"] = averaged
out = {"start": start, "grads": grads}
out |= {name: course(start, grads) for name, course in OPTIMIZERS.items()}


# ---- schedules: what the learning rate is multiplied by ------------------------------------

def optimizer_of_one():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def transformers_factors(make, steps=101):
    factor = make(optimizer_of_one()).lr_lambdas[0]
    return [factor(t) for t in range(steps)]


def torch_factors(make, steps=100):
    optimizer = optimizer_of_one()
    scheduler = make(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def wsd(decay="linear", warmup="linear"):
    return lambda o: transformers.get_wsd_schedule(o, 10, 20, num_training_steps=100, decay_type=decay, warmup_type=warmup)


lr_scheduler = torch.optim.lr_scheduler
SCHEDULES = {
    "constant": transformers_factors(lambda o: transformers.get_constant_schedule_with_warmup(o, 10)),
    "linear": transformers_factors(lambda o: transformers.get_linear_schedule_with_warmup(o, 10, 100)),  # to 0
    "cosine": transformers_factors(lambda o: transformers.get_cosine_with_min_lr_schedule_with_warmup(o, 10, 100, min_lr_rate=0.1)),
    "cosine_waves": transformers_factors(lambda o: transformers.get_cosine_schedule_with_warmup(o, 10, 100, num_cycles=1.5)),
    "cosine_restarts": transformers_factors(lambda o: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(o, 10, 100, num_cycles=3)),
    "polynomial": transformers_factors(lambda o: transformers.get_polynomial_decay_schedule_with_warmup(o, 10, 100, lr_end=0.05, power=2.0)),
    "inverse_sqrt": transformers_factors(lambda o: transformers.get_inverse_sqrt_schedule(o, 10)),
    "inverse_sqrt_timescale": transformers_factors(lambda o: transformers.get_inverse_sqrt_schedule(o, 10, timescale=50)),
    # to 0: a ratio above it would also raise the start of their warm-up
    "wsd": transformers_factors(wsd()),
    "wsd_cosine": transformers_factors(wsd("cosine", "cosine")),
    "wsd_1-sqrt": transformers_factors(wsd("1-sqrt", "1-sqrt")),
    "step": torch_factors(lambda o: lr_scheduler.StepLR(o, 30, gamma=0.5)),
    "multistep": torch_factors(lambda o: lr_scheduler.MultiStepLR(o, [50, 75], gamma=0.1)),
    "exponential": torch_factors(lambda o: lr_scheduler.ExponentialLR(o, gamma=0.97)),
    "one_cycle": torch_factors(lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=101, pct_start=0.3)),
}
out |= {"schedule_" + name: torch.tensor(values, dtype=torch.float64).float() for name, values in SCHEDULES.items()}

losses = torch.cumsum(torch.randn(60) * 0.3 - 0.02, 0).abs() + 1
optimizer = optimizer_of_one()
plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3, threshold=1e-2)
factors = []
for loss in losses:
    plateau.step(float(loss))
    factors.append(optimizer.param_groups[0]["lr"])
out["plateau_losses"], out["plateau"] = losses, torch.tensor(factors)

save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1])
print({k: float(v.abs().sum()) for k, v in out.items()})
