"""strobe's TPE against Optuna's on six standard test functions: the best value found, the median
over seeds, at equal numbers of trials. Needs optuna. Writes a table in Markdown.
usage: python3 tools/compare_samplers.py [--strobe build/strobe] [--trials 100] [--seeds 20] [--first 0] [--samplers]"""
import argparse, json, math, pathlib, subprocess, tempfile

import numpy as np
import optuna

HARTMANN_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
HARTMANN_P = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991], [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])


def sphere(x):
    return float(np.sum((x - 0.7) ** 2))


def rosenbrock(x):
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def branin(x):
    a, b = x
    return (b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def hartmann6(x):
    return float(-np.sum([1.0, 1.2, 3.0, 3.2] * np.exp(-np.sum(HARTMANN_A * (x - HARTMANN_P) ** 2, axis=1))))


def ackley(x):
    x = x - 1.3
    return float(-20 * np.exp(-0.2 * np.sqrt(np.mean(x * x))) - np.exp(np.mean(np.cos(2 * math.pi * x))) + 20 + math.e)


def rastrigin(x):
    x = x - 0.9
    return float(10 * len(x) + np.sum(x * x - 10 * np.cos(2 * math.pi * x)))


# name, function, ranges, least value
FUNCTIONS = [
    ("sphere", sphere, [(-5, 5)] * 4, 0),
    ("rosenbrock", rosenbrock, [(-2, 2)] * 3, 0),
    ("branin", branin, [(-5, 10), (0, 15)], 0.397887),
    ("hartmann6", hartmann6, [(0, 1)] * 6, -3.32237),
    ("ackley", ackley, [(-10, 10)] * 4, 0),
    ("rastrigin", rastrigin, [(-5.12, 5.12)] * 3, 0),
]


def with_strobe(strobe, sampler, function, ranges, trials, seed):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "space.toml"
        lines = [f"x{i} = {{ float = [{low}, {high}] }}" for i, (low, high) in enumerate(ranges)]
        file.write_text("\n".join(["[space]", *lines, "[sampler]", f'name = "{sampler}"', ""]))
        process = subprocess.Popen([strobe, "study", "ask", file, "--seed", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        best = math.inf
        for trial in range(trials):
            point = json.loads(process.stdout.readline())
            value = float(function(np.array([point[f"x{i}"] for i in range(len(ranges))])))
            best = min(best, value)
            process.stdin.write(f"{value!r}\n")
            process.stdin.flush()
        process.stdin.close()
        process.wait()
    return best


def with_optuna(sampler, function, ranges, trials):
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda t: function(np.array([t.suggest_float(f"x{i}", *r) for i, r in enumerate(ranges)])), n_trials=trials)
    return study.best_value


parser = argparse.ArgumentParser()
parser.add_argument("--strobe", default="build/strobe")
parser.add_argument("--trials", type=int, default=100)
parser.add_argument("--seeds", type=int, default=20)
parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
parser.add_argument("--samplers", action="store_true", help="random and Sobol too")
options = parser.parse_args()
optuna.logging.set_verbosity(optuna.logging.ERROR)
tpe = optuna.samplers.TPESampler
kinds = {
    "strobe": lambda f, r, s: with_strobe(options.strobe, "tpe", f, r, options.trials, s),
    f"Optuna {optuna.__version__}": lambda f, r, s: with_optuna(tpe(seed=s, multivariate=True, group=True, constant_liar=True), f, r, options.trials),
    "Optuna, one by one": lambda f, r, s: with_optuna(tpe(seed=s, multivariate=False), f, r, options.trials),
}
if options.samplers:
    for name in ["random", "sobol"]:
        kinds[f"strobe {name}"] = lambda f, r, s, name=name: with_strobe(options.strobe, name, f, r, options.trials, s)
print("| function | least | " + " | ".join(kinds) + " |")
print("|---|---" + "|---" * len(kinds) + "|")
for name, function, ranges, least in FUNCTIONS:
    cells = []
    for run in kinds.values():
        values = [run(function, ranges, seed) for seed in range(options.first, options.first + options.seeds)]
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        cells.append(f"{middle:.4g} ({low:.4g} to {high:.4g})")
    print(f"| {name}, {len(ranges)} dimensions | {least:g} | " + " | ".join(cells) + " |", flush=True)
