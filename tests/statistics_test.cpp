// The statistics against scipy's figures in tests/data/statistics.txt, which
// tools/make_statistics_fixture.py writes, and against what they must be by their definition.
#include "strobe/report/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

namespace strobe {
namespace {

struct Case {
  std::string name, text;
  std::vector<double> arguments, results;
};

// The cases of a name; the test fails if there are none.
std::vector<Case> cases(const std::string& name) {
  std::vector<Case> out;
  std::ifstream file(STROBE_SOURCE_DIR "/tests/data/statistics.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Case one;
    one.text = line;
    if (!(words >> one.name) || one.name != name) continue;
    std::string word;
    std::vector<double>* list = &one.arguments;
    while (words >> word)
      word == "=" ? void(list = &one.results) : list->push_back(std::stod(word));
    out.push_back(one);
  }
  EXPECT_FALSE(out.empty()) << "no case '" << name << "' in the fixture";
  return out;
}

// Fails on NaN, too.
void expect_close(double found, double expected, const Case& one, double tolerance = 1e-11) {
  EXPECT_TRUE(std::abs(found - expected) <= tolerance * std::max(1.0, std::abs(expected)))
      << "found " << found << ", expected " << expected << "\n  " << one.text;
}

void expect_interval(const Interval& found, const Case& one, size_t at = 0) {
  expect_close(found.estimate, one.results.at(at), one);
  expect_close(found.low, one.results.at(at + 1), one, 1e-9);
  expect_close(found.high, one.results.at(at + 2), one, 1e-9);
}

std::pair<std::vector<double>, std::vector<double>> halves(const Case& one) {
  const auto middle = one.arguments.begin() + static_cast<std::ptrdiff_t>(one.arguments.size() / 2);
  return {{one.arguments.begin(), middle}, {middle, one.arguments.end()}};
}

TEST(Statistics, IncompleteBetaIsScipys) {
  for (const Case& c : cases("beta")) {
    const double found = incomplete_beta(c.arguments[0], c.arguments[1], c.arguments[2]);
    expect_close(found, c.results[0], c);
    const double ratio = c.results[0] > 0 ? found / c.results[0] : 1;
    EXPECT_LE(std::abs(ratio - 1), 1e-9) << "relative error\n  " << c.text;
  }
}

TEST(Statistics, StudentsDistributionIsScipys) {
  for (const Case& c : cases("t_cdf"))
    expect_close(student_t_cdf(c.arguments[0], c.arguments[1]), c.results[0], c);
  for (const Case& c : cases("t_quantile"))
    expect_close(student_t_quantile(c.arguments[0], c.arguments[1]), c.results[0], c, 1e-9);
  // The value of every table: 95 %, two-sided, three runs.
  EXPECT_NEAR(student_t_quantile(0.975, 2), 4.303, 5e-4);
}

TEST(Statistics, IntervalsAreScipys) {
  for (const Case& c : cases("interval")) {
    const Interval found = t_interval(c.arguments);
    expect_interval(found, c);
    EXPECT_EQ(found.n, static_cast<int>(c.arguments.size()));
  }
  for (const Case& c : cases("sd")) expect_close(standard_deviation(c.arguments), c.results[0], c);
  for (const Case& c : cases("paired")) {
    const auto [a, b] = halves(c);
    expect_interval(t_interval(paired_differences(a, b)), c);
  }
  for (const Case& c : cases("ratio")) {
    const auto [a, b] = halves(c);
    expect_interval(ratio_interval(a, b), c);
  }
}

TEST(Statistics, SuperiorityIsMannAndWhitneys) {
  for (const Case& c : cases("superiority")) {
    const auto [a, b] = halves(c);
    expect_close(probability_of_superiority(a, b), c.results[0], c);
    expect_close(probability_of_superiority(b, a), 1 - c.results[0], c);
  }
}

TEST(Statistics, FactorialEffectsAreThoseOfTheLinearModel) {
  for (const Case& c : cases("factorial")) {
    std::vector<FactorialSeed> seeds;
    for (size_t i = 0; i < c.arguments.size(); i += 4)
      seeds.push_back(
          {{{c.arguments[i], c.arguments[i + 1]}, {c.arguments[i + 2], c.arguments[i + 3]}}});
    const FactorialEffects found = factorial_effects(seeds);
    expect_interval(found.first, c, 0);
    expect_interval(found.second, c, 3);
    expect_interval(found.interaction, c, 6);
    expect_interval(found.both, c, 9);
    // The main effect is the mean of the simple ones, the interaction their difference.
    expect_close((found.first_at[0].estimate + found.first_at[1].estimate) / 2,
                 found.first.estimate, c);
    expect_close(found.second_at[1].estimate - found.second_at[0].estimate,
                 found.interaction.estimate, c);
  }
}

TEST(Statistics, UnresolvedWithoutAnIntervalOrWhenItCoversTheNull) {
  EXPECT_FALSE(t_interval(std::vector<double>{-0.5}).resolved());
  EXPECT_FALSE(t_interval({}).resolved());
  EXPECT_TRUE(std::isnan(t_interval({}).estimate));
  EXPECT_FALSE(t_interval(std::vector<double>{-0.1, 0.1, 0.2}).resolved());
  EXPECT_TRUE(t_interval(std::vector<double>{0.1, 0.11, 0.12}).resolved());
  EXPECT_TRUE(t_interval(std::vector<double>{-0.1, -0.11, -0.12}).resolved());
  EXPECT_FALSE(t_interval(std::vector<double>{0.1, 0.1, std::nan("")}).resolved());
  const std::vector<double> one = {1, 1, 1}, two = {2.0, 2.1, 1.9}, near = {1.02, 0.98, 1.01};
  EXPECT_TRUE(ratio_interval(one, two).resolved(1));
  EXPECT_FALSE(ratio_interval(one, near).resolved(1));
}

}  // namespace
}  // namespace strobe
