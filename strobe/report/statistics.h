// Statistics of few, paired runs. Every function is a formula of its arguments alone.
//
// Runs that share a seed share data order and initialisation, so differences are taken seed by
// seed and the interval is over seeds: with n seeds, Student's t with n - 1 degrees of freedom.
#pragma once

#include <array>
#include <limits>
#include <span>
#include <vector>

namespace strobe {

/// Arithmetic mean; NaN of nothing.
double mean(std::span<const double> values);

/// Sample standard deviation, divisor n - 1; NaN for fewer than two values.
double standard_deviation(std::span<const double> values);

/// The regularised incomplete beta function I_x(a, b), a, b > 0, 0 <= x <= 1: the continued
/// fraction of the Handbook of Mathematical Functions (26.5.8), by Lentz's method.
double incomplete_beta(double a, double b, double x);

/// P(T <= t) for Student's t: 1 - I_x(df/2, 1/2)/2 with x = df/(df + t^2), for t >= 0.
double student_t_cdf(double t, double degrees_of_freedom);

/// The t with P(T <= t) = p, 0 < p < 1.
double student_t_quantile(double p, double degrees_of_freedom);

/// An estimate and its confidence interval. Without an interval (n < 2, or values that are not
/// finite) low and high are NaN.
struct Interval {
  double estimate = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
  int n = 0;

  /// True if there is an interval and it does not hold `null`; otherwise the effect is unresolved.
  bool resolved(double null = 0) const { return low > null || high < null; }
};

/// mean +- t_{(1 + level)/2, n - 1} * sd / sqrt(n).
Interval t_interval(std::span<const double> values, double level = 0.95);

inline constexpr int kResamples = 9999;

/// Bias-corrected and accelerated bootstrap interval of the mean (B. Efron, 1987) from so many
/// resamples, the same ones for the same values.
Interval bootstrap_interval(std::span<const double> values, double level = 0.95,
                            int resamples = kResamples);

/// The two-sided p-value that the mean is 0, of that interval: the least 1 - level at which it does
/// not hold 0, but never less than so many resamples can tell.
double bootstrap_test(std::span<const double> values, int resamples = kResamples);

/// Below so many values the bootstrap's intervals cover too little.
inline constexpr size_t kFewestForBootstrap = 10;

/// What reports use, so that interval and verdict agree: t_interval() and t_test() of fewer than
/// ten values, where resampling is too narrow, and bootstrap_interval() and bootstrap_test() of
/// more, which are resampled once.
struct MeanInference {
  Interval interval;
  double p = std::numeric_limits<double>::quiet_NaN();  // two-sided, that the mean is 0
};
MeanInference infer_mean(std::span<const double> values, double level = 0.95);

/// One of the two.
double mean_test(std::span<const double> values);
Interval mean_interval(std::span<const double> values, double level = 0.95);

/// Phi(x), and the x with Phi(x) = p, 0 < p < 1.
double normal_cdf(double x);
double normal_quantile(double p);

/// P(F > f) for the F distribution.
double f_tail(double f, double numerator_df, double denominator_df);

/// The two-sided p-value of Student's t test that the mean is 0; NaN for fewer than two values, or
/// where one is not finite.
double t_test(std::span<const double> values);

/// Holm's step-down correction for as many tests as there are p-values. NaN stays NaN and counts
/// for nothing.
std::vector<double> holm(std::span<const double> p);

/// P(X <= x) for the chi-squared distribution: the regularised incomplete gamma function P(df/2,
/// x/2) by its series; and the x with P(X <= x) = p.
double chi_square_cdf(double x, double degrees_of_freedom);
double chi_square_quantile(double p, double degrees_of_freedom);

/// The standard deviation s of normal values, from s sqrt((n - 1) / chi2_{(1 + level)/2, n - 1})
/// up.
Interval deviation_interval(std::span<const double> values, double level = 0.95);

/// Spearman's rank correlation r with the interval of D. G. Bonett and T. A. Wright (2000):
/// tanh(atanh(r) +- z sqrt((1 + r^2 / 2) / (n - 3))). No interval of fewer than four pairs.
Interval rank_correlation_interval(std::span<const double> a, std::span<const double> b,
                                   double level = 0.95);

/// rank_correlation(a, c) - rank_correlation(b, c), and the percentile bootstrap's interval of it.
Interval rank_correlation_difference(std::span<const double> a, std::span<const double> b,
                                     std::span<const double> c, double level = 0.95,
                                     int resamples = 1999);

/// Spearman's rank correlation, ties having their mean rank; NaN if one side is constant.
double rank_correlation(std::span<const double> a, std::span<const double> b);

/// Linear interpolation between order statistics (numpy's default); infinities sort last. NaN where
/// a value is.
double quantile(std::vector<double> values, double p);

/// b[i] - a[i], pair by pair. Both have the same length.
std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b);

/// The ratio b/a as exp(t_interval(log b - log a)): geometric mean and its interval. All values
/// are positive; its null is 1.
Interval ratio_interval(std::span<const double> a, std::span<const double> b, double level = 0.95);

/// P(x < y) + P(x = y)/2 over all pairs of a value x of `a` and y of `b`: how often a run of `a`
/// has the lower value. Mann and Whitney's U / (n m).
double probability_of_superiority(std::span<const double> a, std::span<const double> b);

/// The four runs of one seed in a 2x2 factorial: y[i][j] at level i of the first factor and level
/// j of the second.
using FactorialSeed = std::array<std::array<double, 2>, 2>;

/// Contrasts of a 2x2 factorial, one value a seed, and what infer_mean() says of them over seeds:
///   first         ((y10 + y11) - (y00 + y01)) / 2, a main effect: averaged over the other factor
///   second        ((y01 + y11) - (y00 + y10)) / 2
///   interaction   (y11 - y01) - (y10 - y00), what the two together give beyond their sum
///   both          y11 - y00
///   first_at[j]   y1j - y0j, simple effects
///   second_at[i]  yi1 - yi0
struct FactorialEffects {
  Interval first, second, interaction;
  MeanInference both;
  std::array<Interval, 2> first_at, second_at;
};
FactorialEffects factorial_effects(std::span<const FactorialSeed> seeds, double level = 0.95);

}  // namespace strobe
