"""Writes tests/data/gpt2_tiny.safetensors: a tiny GPT-2 of Hugging Face transformers with every
parameter random, its logits, loss and gradients on one batch, and ten AdamW losses.
Needs torch, transformers and safetensors. Usage: make_gpt2_fixture.py OUT"""
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
V, T, B, C = 61, 11, 3, 48
config = GPT2Config(vocab_size=V, n_positions=16, n_embd=C, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0,
                    attn_pdrop=0.0, bos_token_id=V - 1, eos_token_id=V - 1, use_cache=False)
model = GPT2LMHeadModel(config).train().float()
with torch.no_grad():  # biases and norms too, so that each one's gradient counts
    for p in model.parameters():
        p.add_(torch.randn_like(p) * 0.1)
text = torch.randint(0, V, (B, T + 1))
tokens, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()


def loss_of(logits):
    return torch.nn.functional.cross_entropy(logits.view(-1, V), targets.view(-1))


out = {"weight." + n: p.detach().clone() for n, p in model.named_parameters()}
logits = model(tokens).logits
loss_of(logits).backward()
out.update({"grad." + n: p.grad.clone() for n, p in model.named_parameters()})
out["logits"] = logits.detach().clone()
out["tokens"], out["targets"] = tokens.int(), targets.int()

decay = [p for n, p in model.named_parameters() if p.dim() == 2]
rest = [p for n, p in model.named_parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
                              lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
losses = []
for _ in range(10):
    optimizer.zero_grad()
    loss = loss_of(model(tokens).logits)
    losses.append(loss.item())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
out["losses"] = torch.tensor(losses)
print(losses)
save_file(out, sys.argv[1])
