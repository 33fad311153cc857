#include "strobe/data/examples.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>

#include "strobe/config/terms.h"
#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/core/rng.h"

namespace strobe {

namespace {

constexpr size_t kMostClasses = 1000;

float score_in(const TextTable& table, size_t row, const std::string& text) {
  constexpr const char* kBlank = " \t";
  float value = 0;
  // Blanks around it, and a sign of what is positive, which from_chars() does not take.
  const size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  const char* first = text.data() + begin;
  const char* last = text.data() + text.find_last_not_of(kBlank) + 1;
  if (last - first > 1 && first[0] == '+' && first[1] != '-') ++first;
  const auto [end, error] = std::from_chars(first, std::max(first, last), value);
  if (error != std::errc() || end != last || !std::isfinite(value))
    fail("data: {}: the label '{}' is no number", table.place(row), brief(text));
  return value;
}

// The number that the whole of a text is; NaN where it is none.
double number_in(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : NAN;
}

std::vector<std::string> classes_in(const TextTable& table, size_t column,
                                    const std::string& label) {
  std::map<std::string, size_t> names;  // and the first row of each
  for (size_t row = 0; row < table.rows(); ++row) {
    const std::string& name = table.at(row, column);
    if (name.find_first_not_of(" \t") == name.npos)
      fail("data: {}: no '{}': each text takes the name of its class", table.place(row), label);
    names.emplace(name, row);
    if (names.size() > kMostClasses)
      fail(
          "data: {}: more than {} different labels; classes are fewer, and numbers to predict are "
          "asked for by regression",
          table.file(), kMostClasses);
  }
  if (names.size() == 1)
    fail("data: {}: every '{}' is '{}'; a classifier takes two classes or more", table.file(),
         label, brief(names.begin()->first));
  std::map<double, std::string> numbers;
  std::map<std::string, std::string> bare;
  std::vector<std::string> out;
  for (const auto& [name, row] : names) {
    out.push_back(name);
    const auto [twin, is_new] = bare.emplace(trimmed(name), name);
    if (!is_new)
      fail("data: {}: the labels '{}' and '{}' differ in blanks alone; write it in one way",
           table.place(row), brief(twin->second), brief(name));
    const double number = number_in(twin->first);
    if (std::isnan(number)) continue;
    if (const auto [same, added] = numbers.emplace(number, name); !added)
      fail("data: {}: the labels '{}' and '{}' are one number; write it in one way",
           table.place(row), brief(same->second), brief(name));
  }
  return out;
}

}  // namespace

Examples read_examples(const std::string& file, const ExampleColumns& columns,
                       const TableOptions& options, int64_t* skipped) {
  check(columns.texts.size() == 1 || columns.texts.size() == 2, "read_examples: one text or two");
  std::vector<std::string> wanted = columns.texts;
  const size_t label = wanted.size();
  const bool labelled = !columns.label.empty();
  if (labelled) wanted.push_back(columns.label);
  for (size_t i = 0; i < wanted.size(); ++i)
    if (std::find(wanted.begin(), wanted.begin() + static_cast<ptrdiff_t>(i), wanted[i]) !=
        wanted.begin() + static_cast<ptrdiff_t>(i))
      fail(
          "data: {}: the column '{}' is asked for twice; texts and labels are columns of their own",
          file, wanted[i]);
  const TextTable table = TextTable::read(file, wanted, options);
  if (skipped) *skipped = table.skipped();

  Examples out;
  out.pairs = columns.texts.size() == 2;
  if (!columns.regression) {
    out.classes = columns.classes;
    if (out.classes.empty() && labelled) out.classes = classes_in(table, label, columns.label);
  }
  for (size_t row = 0; row < table.rows(); ++row) {
    Example example{table.at(row, 0), out.pairs ? table.at(row, 1) : "", 0};
    if (labelled && columns.regression) {
      example.label = score_in(table, row, table.at(row, label));
    } else if (labelled) {
      const auto found = std::ranges::find(out.classes, table.at(row, label));
      if (found == out.classes.end())
        fail("data: {}: the label '{}' is none of {}", table.place(row),
             brief(table.at(row, label)), brief(fmt::format("{}", fmt::join(out.classes, ", "))));
      example.label = static_cast<float>(found - out.classes.begin());
    }
    out.rows.push_back(std::move(example));
  }
  return out;
}

std::pair<Examples, Examples> hold_out(Examples examples, double share, uint64_t seed) {
  const auto rows = static_cast<int64_t>(examples.rows.size());
  if (rows < 2) fail("data: {} example{} cannot be split", rows, rows == 1 ? "" : "s");
  check(share > 0 && share < 1, "hold_out: a share between 0 and 1");
  const auto wanted = static_cast<int64_t>(std::llround(share * static_cast<double>(rows)));
  const int64_t held = std::clamp<int64_t>(wanted, 1, rows - 1);
  // The first `held` places of a shuffle (Fisher and Yates).
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  RandomSequence random(seed, RandomUse::split, 1);
  for (int64_t i = 0; i < held; ++i) {
    const auto left = static_cast<uint64_t>(rows - i);
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(i) + static_cast<size_t>(random.below(left))]);
  }
  std::vector<bool> is_held(static_cast<size_t>(rows));
  for (int64_t i = 0; i < held; ++i)
    is_held[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  std::pair<Examples, Examples> out;
  for (Examples* part : {&out.first, &out.second})
    part->pairs = examples.pairs, part->classes = examples.classes;
  for (size_t i = 0; i < examples.rows.size(); ++i)
    (is_held[i] ? out.second : out.first).rows.push_back(std::move(examples.rows[i]));
  return out;
}

std::pair<int64_t, int64_t> truncate_longest_first(int64_t first, int64_t second, int64_t room) {
  const bool swapped = first > second;
  int64_t shorter = std::min(first, second), longer = std::max(first, second);
  if (shorter + longer > room) {
    longer = shorter > room ? shorter : std::max(shorter, room - shorter);
    if (shorter + longer > room) {
      shorter = room / 2;
      longer = shorter + room % 2;
    }
  }
  return swapped ? std::pair(longer, shorter) : std::pair(shorter, longer);
}

EncodedExample encode_example(const Tokenizer& tokenizer, const Example& example, bool pair,
                              int64_t longest) {
  const int32_t cls = tokenizer.special("[CLS]"), sep = tokenizer.special("[SEP]");
  if (cls < 0 || sep < 0)
    fail("data: the tokenizer has no [CLS] and [SEP], which stand around a classifier's texts");
  const int64_t room = longest - (pair ? 3 : 2);
  if (room < (pair ? 2 : 1))
    fail("data: sequences of {} tokens have no room for text beside [CLS] and [SEP]", longest);
  EncodedExample out;
  std::vector<int32_t> second;
  out.ids.push_back(cls);
  tokenizer.encode(example.first, out.ids);
  if (pair) tokenizer.encode(example.second, second);
  const auto [a, b] = truncate_longest_first(static_cast<int64_t>(out.ids.size()) - 1,
                                             static_cast<int64_t>(second.size()), room);
  out.cut = static_cast<size_t>(a) + 1 < out.ids.size() || static_cast<size_t>(b) < second.size();
  out.ids.resize(static_cast<size_t>(a) + 1);
  out.ids.push_back(sep);
  out.first_size = static_cast<int32_t>(out.ids.size());
  if (pair) {
    out.ids.insert(out.ids.end(), second.begin(), second.begin() + b);
    out.ids.push_back(sep);
  }
  return out;
}

}  // namespace strobe
