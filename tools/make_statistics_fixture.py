"""Writes tests/data/statistics.txt: what scipy, statsmodels and Optuna give for the functions of
strobe/report/{statistics,factorial,importance}.h and strobe/study/sobol.h. One case a line: a name,
the arguments, '=', the results.
usage: python3 tools/make_statistics_fixture.py > tests/data/statistics.txt"""
import itertools, warnings

import numpy as np
import optuna
import pandas
import scipy
import statsmodels
from scipy import optimize, special, stats
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def line(name, arguments, results):
    text = lambda values: " ".join(repr(float(v)) for v in np.atleast_1d(values).ravel())
    print(name, text(arguments), "=", text(results))


def sample_interval(values):
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


print(f"# numpy {np.__version__}, scipy {scipy.__version__}, statsmodels {statsmodels.__version__}, optuna {optuna.__version__}")
random = np.random.default_rng(7)
for a, b in [(0.5, 0.5), (1, 0.5), (1.5, 0.5), (10, 0.5), (500, 0.5), (2, 3), (30, 7)]:
    for x in [0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0]:
        line("beta", [a, b, x], special.betainc(a, b, x))
for df in [1, 2, 3, 4, 9, 30, 1000, 2.5]:
    for t in [-40, -3, -0.5, 0, 1e-3, 1, 2.5, 12]:
        line("t_cdf", [t, df], stats.t.cdf(t, df))
    for p in [1e-6, 0.005, 0.025, 0.3, 0.5, 0.9, 0.975, 0.995]:
        line("t_quantile", [p, df], stats.t.ppf(p, df))
for n in [2, 3, 5, 12]:
    values = random.normal(5.5, 0.05, n)
    line("interval", values, [np.mean(values), *sample_interval(values)])
    line("sd", values, np.std(values, ddof=1))
for n in [3, 5]:
    a, b = random.normal(6, 0.05, n), random.normal(5.9, 0.05, n)
    line("paired", [a, b], [np.mean(b - a), *stats.ttest_rel(b, a).confidence_interval(0.95)])
    line("ratio", [a, b], np.exp([np.mean(np.log(b / a)), *sample_interval(np.log(b / a))]))
for n, values in [(4, 9), (6, 5), (5, 1000)]:
    a, b = random.integers(0, values, n), random.integers(0, values, n)
    line("superiority", [a, b], stats.mannwhitneyu(b, a).statistic / (n * n))
# A 2x2 factorial within seeds: the effects as contrasts of a linear model with a term for each
# seed and its interactions, which for two levels are one-sample t intervals of the contrasts.
for n in [2, 3, 6]:
    y = random.normal([[6.4, 5.8], [6.1, 5.3]], 0.03, (n, 2, 2)) + random.normal(0, 0.05, (n, 1, 1))
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) / 2
    design = np.column_stack([np.ones(4), x[:, 0], x[:, 1], 4 * x[:, 0] * x[:, 1] / 2])
    effects = np.array([np.linalg.solve(design, seed.ravel()) for seed in y])
    results = []
    for values in [effects[:, 1], effects[:, 2], 2 * effects[:, 3], y[:, 1, 1] - y[:, 0, 0]]:
        results += [np.mean(values), *sample_interval(values)]
    line("factorial", y, results)

for x in [-30, -6, -1.5, 0, 0.3, 4]:
    line("normal_cdf", [x], stats.norm.cdf(x))
for p in [1e-12, 0.001, 0.025, 0.4, 0.5, 0.9, 0.9999]:
    line("normal_quantile", [p], stats.norm.ppf(p))
for f, a, b in [(0.1, 1, 4), (3.2, 2, 8), (20, 6, 12), (150, 3, 3), (1, 10, 500)]:
    line("f_tail", [f, a, b], stats.f.sf(f, a, b))
for n in [2, 3, 7, 20]:
    values = random.normal(0.02, 0.03, n)
    line("t_test", values, stats.ttest_1samp(values, 0).pvalue)
for p in [[0.01], [0.04, 0.01, 0.03], [0.2, 0.001, 0.011, 0.04, 0.9], [0.02, 0.02, 0.02]]:
    line("holm", p, multipletests(p, method="holm")[1])
for n, values in [(6, 1000), (12, 4), (40, 1000)]:
    a = random.integers(0, values, n)
    b = a + random.integers(0, values, n)
    line("rank", [a, b], stats.spearmanr(a, b).statistic)
for values in [random.normal(5, 0.1, 12), random.exponential(1, 25), random.lognormal(0, 1, 60)]:
    result = stats.bootstrap((values,), np.mean, n_resamples=200000, method="BCa", rng=np.random.default_rng(1))
    line("bootstrap", values, [np.mean(values), *result.confidence_interval])
# Repeated measures: seeds are the subjects. Terms in the order a, b, ab, c, ac, bc, abc.
for levels, seeds in [([2, 2], 3), ([3, 4], 2), ([2, 3, 2], 4)]:
    shape = [*levels, seeds]
    y = random.normal(0, 0.05, shape) + random.normal(0, 0.1, seeds) + np.arange(levels[0]).reshape([-1] + [1] * (len(shape) - 1)) * 0.1
    names = ["fa", "fb", "fc"][: len(levels)]
    rows = [dict(zip(names, cell), seed=cell[-1], y=y[cell]) for cell in itertools.product(*map(range, shape))]
    table = AnovaRM(pandas.DataFrame(rows), "y", "seed", within=list(names)).fit().anova_table
    results = []
    for bits in range(1, 2 ** len(levels)):
        row = table.loc[":".join(n for i, n in enumerate(names) if bits >> i & 1)]
        results += [row["F Value"], row["Num DF"], row["Den DF"], row["Pr > F"]]
    line("anova", [len(levels), *levels, seeds, *y.ravel()], results)
# PED-ANOVA: for each parameter low, high, step, log, integer, choices and the values, then outcomes.
for seed, trials in [(0, 30), (1, 80)]:
    def objective(trial):
        x = trial.suggest_float("x", 1e-4, 1e-1, log=True)
        n = trial.suggest_int("n", 1, 12)
        c = trial.suggest_categorical("c", ["a", "b", "c"])
        y = trial.suggest_float("y", 0, 1, step=0.125)
        z = trial.suggest_float("z", -1, 1) if c == "b" else 0.3
        return abs(np.log10(x) + 2.5) + 0.05 * abs(n - 4) + (0.4 if c == "a" else 0) + 0.01 * y + 0.3 * abs(z)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    kinds = {"x": [1e-4, 1e-1, 0, 1, 0, 0], "n": [1, 12, 1, 0, 1, 0], "c": [0, 0, 0, 0, 0, 3], "y": [0, 1, 0.125, 0, 0, 0], "z": [-1, 1, 0, 0, 0, 0]}
    arguments = [len(kinds), trials]
    for name, kind in kinds.items():
        arguments += kind
        arguments += ["abc".index(t.params["c"]) if name == "c" else t.params.get(name, np.nan) for t in study.trials]
    arguments += [t.value for t in study.trials]
    line("importance", arguments, [found[name] for name in kinds])
sobol = stats.qmc.Sobol(64, scramble=False, bits=32).random(33)
for index in [1, 2, 7, 32]:
    line("sobol", [index], sobol[index])
random = np.random.default_rng(11)
for df in [1, 2, 4, 9, 60]:
    for x in [1e-3, 0.5, 3, 12, 100]:
        line("chi_square_cdf", [x, df], stats.chi2.cdf(x, df))
    for p in [0.001, 0.025, 0.5, 0.975]:
        line("chi_square_quantile", [p, df], stats.chi2.ppf(p, df))
for n in [2, 5, 12]:
    values = random.normal(5, 0.02, n)
    s = np.std(values, ddof=1)
    ends = s * np.sqrt((n - 1) / stats.chi2.ppf([0.975, 0.025], n - 1))
    line("deviation", values, [s, *ends])
for n in [6, 40]:
    a = random.normal(0, 1, n)
    b, c = a + random.normal(0, 0.5, n), a + random.normal(0, 1, n)
    r = stats.spearmanr(a, b).statistic
    half = stats.norm.ppf(0.975) * np.sqrt((1 + r * r / 2) / (n - 3))
    line("rank_interval", [a, b], [r, *np.tanh(np.arctanh(r) + np.array([-half, half]))])
    if n > 10:
        difference = lambda x, y, z: stats.spearmanr(x, z).statistic - stats.spearmanr(y, z).statistic
        result = stats.bootstrap((b, c, a), difference, paired=True, vectorized=False, n_resamples=20000, method="percentile", rng=np.random.default_rng(1))
        line("rank_difference", [b, c, a], [difference(b, c, a), *result.confidence_interval])
# Spikes by pandas' rolling windows; the loss falls, and jumps at some steps.
for jumps in [[], [60, 200, 201], [30, 299]]:
    values = 6 * np.exp(-np.arange(300) / 80) + random.normal(0, 0.05, 300)
    values[jumps] += 6
    before = pandas.Series(values).rolling(100, min_periods=50)
    line("spikes", values, np.sum(values > (before.mean() + 7 * before.std()).shift(1)))
# Bands by root finding on the interpolated curve: log, tolerance, x, y = best at, low, high.
for log, n in [(1, 7), (0, 9), (1, 5)]:
    x = np.geomspace(1e-3, 3e-2, n)
    scaled = np.log(x) if log else x
    y = 5 + 3 * ((scaled - scaled[n // 2]) / (scaled[-1] - scaled[0])) ** 2 + random.uniform(0, 0.01, n)
    if n == 5:
        y[-1] = 5.01  # the band ends with the range
    curve, best = lambda at: np.interp(at, scaled, y), np.argmin(y)
    ends = []
    for side in [-1, 1]:
        inside = [s for s in (scaled[: best + 1][::-1] if side < 0 else scaled[best:])]
        found = inside[-1]
        for a, b in zip(inside, inside[1:]):
            if curve(b) > y[best] + 0.05:
                found = optimize.brentq(lambda v: curve(v) - y[best] - 0.05, a, b, xtol=1e-15)
                break
        ends.append(np.exp(found) if log else found)
    line("band", np.concatenate([[log, 0.05], x, y]), [x[best], *ends])
