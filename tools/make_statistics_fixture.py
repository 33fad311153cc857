"""Writes tests/data/statistics.txt: what scipy and numpy give for the functions of
strobe/report/statistics.h. One case a line: a name, the arguments, '=', the results.
usage: python3 tools/make_statistics_fixture.py > tests/data/statistics.txt"""
import numpy as np
import scipy
from scipy import special, stats


def line(name, arguments, results):
    text = lambda values: " ".join(repr(float(v)) for v in np.atleast_1d(values).ravel())
    print(name, text(arguments), "=", text(results))


def sample_interval(values):
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


print(f"# numpy {np.__version__}, scipy {scipy.__version__}")
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
