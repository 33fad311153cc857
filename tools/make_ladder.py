"""The ladder from one recipe to another as a study: one group of keys at a time from the first up, then the second with each
group taken back. Groups without a difference are left out; averaging is a rung of its own, on top of the second recipe.
usage: make_ladder.py BASELINE.toml WINNER.toml [--base RECIPE] [--tokens 10000000] [--seeds 1,2,3] [--ema 0.98] > ladder.toml"""
import argparse, tomllib

GROUPS = {
    "schedule": ["schedule."],
    "optimizer": ["optimizer.name", "optimizer.lr", "optimizer.embedding_lr", "optimizer.beta1", "optimizer.beta2", "optimizer.momentum", "optimizer.eps"],
    "decay": ["optimizer.weight_decay", "optimizer.decay_"],
    "dropout": ["model.dropout"],
}


def flat(table, prefix=""):
    out = {}
    for key, value in table.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return out


parser = argparse.ArgumentParser()
parser.add_argument("baseline")
parser.add_argument("winner")
parser.add_argument("--base", default="recipes/gpt2-30m-wiki.toml")
parser.add_argument("--tokens", type=int, default=10000000)
parser.add_argument("--seeds", default="1,2,3")
parser.add_argument("--ema", type=float, default=0.98)
options = parser.parse_args()
baseline, winner = (flat(tomllib.load(open(file, "rb"))) for file in (options.baseline, options.winner))
sides = {}
for group, keys in GROUPS.items():
    own = [k for k in winner | baseline if any(k.startswith(key) if key.endswith((".", "_")) else k == key for key in keys)]
    own = [k for k in own if baseline.get(k, "auto") != winner.get(k, "auto")]
    if own:
        sides[group] = [[f"{k}={side.get(k, 'auto')}" for k in own] for side in (baseline, winner)]
if not sides:
    raise SystemExit("make_ladder: the two recipes differ in none of " + ", ".join(GROUPS))
arms = {"baseline": {g: 0 for g in sides}}
for i, group in enumerate(sides):
    arms["up-" + group] = {g: int(j <= i) for j, g in enumerate(sides)}
for group in sides:
    without = {g: int(g != group) for g in sides}
    if without not in arms.values():
        arms["without-" + group] = without
print(f"""# One change at a time from the baseline up, then the winner with one of them taken back: what each contributes.
# Made by tools/make_ladder.py.
# What it gave: not yet run.
name = "evidence-ladder"
question = "Which parts of the optimised recipe carry its gain?"
base = "{options.base}"
outcome = "val/loss_averaged"
seeds = [{options.seeds.replace(",", ", ")}]

[budget]
tokens = {options.tokens}

[arms]""")
quoted = lambda values: "[" + ", ".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values) + "]"
for name, chosen in arms.items():
    print(f"{name} = {quoted([v for g, side in chosen.items() for v in sides[g][side]])}")
last = [v for g in sides for v in sides[g][1]]
named = {tuple(chosen.values()): name for name, chosen in arms.items()}
compare, top = [], "up-" + list(sides)[-1]
before = "baseline"
for group in sides:
    compare.append(("up-" + group, before))
    before = "up-" + group
for group in sides:
    without = named[tuple(int(g != group) for g in sides)]
    if (top, without) not in compare:
        compare.append((without, top))
compare += [("up-averaging", top), (top, "baseline")]
print(f"up-averaging = {quoted(last + [f'average.ema={options.ema}'])}")
print("\n[compare]  # each rung with the one below it, each omission and averaging with the winner, the winner with the baseline")
for arm in dict.fromkeys(arm for arm, _ in compare):
    print(f"{arm} = {quoted(dict.fromkeys(reference for a, reference in compare if a == arm))}")
