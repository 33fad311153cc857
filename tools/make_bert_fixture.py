"""Writes tests/data/bert_tiny.safetensors: a tiny BERT of Hugging Face transformers with every parameter
random, for each of its heads (lm., classification., regression.): logits, gradients and ten AdamW losses on
one batch of padded sequences. Parameters have strobe's names and layout.
Needs torch, transformers and safetensors. Usage: make_bert_fixture.py OUT"""
import sys

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

V, C, LENGTHS, CLASSES = 61, 32, [11, 5, 8], 3
T, B = max(LENGTHS), len(LENGTHS)
torch.manual_seed(0)
# Token 0 is padding to transformers, and gets no gradient.
tokens, types = torch.randint(1, V, (B, T)), torch.randint(0, 2, (B, T))
mask = (torch.arange(T)[None, :] < torch.tensor(LENGTHS)[:, None]).long()
scored = torch.zeros(B, T, dtype=torch.bool)
for row, places in enumerate([[0, 3, 10], [4], [1, 2, 6]]):
    scored[row, places] = True
words = torch.where(scored, torch.randint(0, V, (B, T)), -100)
targets = {"lm": words, "classification": torch.tensor([2, 0, 1]), "regression": torch.tensor([0.5, 4.0, 2.25])}


def laid_out(named):
    """Matrices (in, out), query, key and value side by side."""
    out = {}
    for name, tensor in named.items():
        if tensor.dim() == 2 and "embeddings." not in name:
            tensor = tensor.t()
        if ".self.key." in name or ".self.value." in name:
            continue
        if ".self.query." in name:
            parts = [named[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            tensor = torch.cat([part.t() if part.dim() == 2 else part for part in parts], dim=-1)
            name = name.replace(".query.", ".c_attn.")
        out[name] = tensor.detach().clone().contiguous()
    return out


out = {"tokens": tokens.int(), "types": types.int(), "lengths": torch.tensor(LENGTHS).int(), "words": words.int(),
       "classes": targets["classification"].int(), "scores": targets["regression"]}
for head, target in targets.items():
    torch.manual_seed(1)
    config = BertConfig(vocab_size=V, hidden_size=C, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4 * C,
                        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                        num_labels={"classification": CLASSES, "regression": 1}.get(head, 2))
    model = (BertForMaskedLM if head == "lm" else BertForSequenceClassification)(config).train().float()
    with torch.no_grad():  # biases and norms too, so that each one's gradient counts
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)

    def run():
        result = model(input_ids=tokens, token_type_ids=types, attention_mask=mask, labels=target)
        return result.loss, result.logits

    out.update({f"{head}.weight.{n}": t for n, t in laid_out(dict(model.named_parameters())).items()})
    loss, logits = run()
    loss.backward()
    out.update({f"{head}.grad.{n}": t
                for n, t in laid_out({n: p.grad for n, p in model.named_parameters()}).items()})
    out[f"{head}.logits"] = (logits[scored] if head == "lm" else logits).detach().clone().contiguous()
    groups = [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() != 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = run()[0]
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    out[f"{head}.losses"] = torch.tensor(losses)
    print(head, losses)
save_file(out, sys.argv[1])
