// A study's result for a terminal and for programs.
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/report/format.h"
#include "strobe/report/study_report.h"
#include "strobe/report/table.h"

namespace strobe {

namespace {

constexpr size_t kWidth = 100;

std::string plus_minus(const Interval& i, int decimals) {
  if (i.n < 2) return number_text(i.estimate, decimals);
  return fmt::format("{} ± {:.{}f}", number_text(i.estimate, decimals), (i.high - i.low) / 2,
                     decimals);
}

// A JSON object, member by member.
class Object {
 public:
  Object& text(const char* key, const std::string& value) { return raw(key, json_quote(value)); }
  Object& number(const char* key, double value) { return raw(key, json_number(value)); }
  Object& interval(const char* key, const Interval& i) {
    return raw(key, Object()
                        .number("estimate", i.estimate)
                        .number("low", i.low)
                        .number("high", i.high)
                        .number("n", i.n)
                        .str());
  }
  Object& raw(const char* key, const std::string& json) {
    body_ += fmt::format("{}{}: {}", body_.empty() ? "" : ", ", json_quote(key), json);
    return *this;
  }
  std::string str() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

template <class List, class Print>
std::string array(const List& list, Print print) {
  std::string out;
  for (const auto& element : list) out += (out.empty() ? "" : ", ") + print(element);
  return "[" + out + "]";
}

std::string entries(const std::vector<std::pair<std::string, std::string>>& list) {
  Object out;
  for (const auto& [key, value] : list) out.text(key.c_str(), value);
  return out.str();
}

std::string json_of(const SeedResult& run) {
  return Object()
      .number("seed", static_cast<double>(run.seed))
      .text("folder", run.folder)
      .text("state", run.state)
      .number("val/loss", run.loss)
      .number("val/bits_per_byte", run.bits_per_byte)
      .number("val/word_perplexity", run.word_perplexity)
      .number("tokens", run.tokens)
      .number("seconds", run.seconds)
      .number("tokens_per_second", run.tokens_per_second)
      .number("peak_bytes", run.peak_bytes)
      .str();
}

std::string json_of(const ArmResult& arm) {
  return Object()
      .text("name", arm.name)
      .raw("levels", entries(arm.levels))
      .raw("overrides", entries(arm.overrides))
      .interval("val/loss", arm.loss)
      .interval("val/bits_per_byte", arm.bits_per_byte)
      .interval("val/word_perplexity", arm.word_perplexity)
      .number("tokens", arm.tokens)
      .number("seconds", arm.seconds)
      .number("tokens_per_second", arm.tokens_per_second)
      .number("peak_bytes", arm.peak_bytes)
      .raw("runs", array(arm.runs, [](const SeedResult& run) { return json_of(run); }))
      .str();
}

std::string json_of(const FactorResult& f) {
  return Object()
      .text("factor", f.name)
      .text("from", f.from)
      .text("to", f.to)
      .interval("loss", f.loss)
      .raw("loss_at_levels_of_the_other",
           array(f.loss_at, [](const Interval& i) { return Object().interval("loss", i).str(); }))
      .interval("tokens_per_second_ratio", f.tokens_per_second)
      .interval("peak_bytes_ratio", f.peak_bytes)
      .interval("tokens_ratio", f.tokens)
      .str();
}

}  // namespace

std::string console_summary(const StudyResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"arm", "runs", "tokens", "tokens/s", "peak memory", "validation loss", "bits per byte"}};
  bool spread = false;
  for (const ArmResult& arm : result.arms) {
    spread = spread || arm.loss.n > 1;
    rows.push_back({arm.name, fmt::format("{}", arm.loss.n), count_text(arm.tokens),
                    count_text(arm.tokens_per_second), bytes_text(arm.peak_bytes),
                    plus_minus(arm.loss, 3), plus_minus(arm.bits_per_byte, 3)});
  }
  if (result.text) {
    rows.push_back({"(text: unigram entropy)", "", "", "", "",
                    number_text(result.text->unigram_nats, 3),
                    number_text(result.text->unigram_bits_per_byte, 3)});
    rows.push_back({"(text: bigram entropy)", "", "", "", "",
                    number_text(result.text->bigram_nats, 3),
                    number_text(result.text->bigram_bits_per_byte, 3)});
  }
  std::string out = text_table(rows);
  if (spread)
    out +=
        "Means over seeds; ± is half of the 95 % interval (Student's t). Loss in nats a token.\n";
  out += "\n" + wrap_text(result.headline, kWidth);
  for (const std::string& sentence : result.sentences) out += "\n" + wrap_text(sentence, kWidth);
  for (const std::string& note : result.notes) out += "\n" + wrap_text("note: " + note, kWidth);
  return out;
}

std::string study_json(const StudyResult& result) {
  const auto quote = [](const std::string& text) { return json_quote(text); };
  Object out;
  out.text("name", result.name).text("question", result.question).text("answer", result.headline);
  out.raw("sentences", array(result.sentences, quote)).raw("notes", array(result.notes, quote));
  out.raw("seeds", array(result.seeds, [](int64_t seed) { return fmt::format("{}", seed); }));
  out.raw("arms", array(result.arms, [](const ArmResult& arm) { return json_of(arm); }));
  if (const auto& f = result.factorial) {
    Object factorial;
    factorial.raw("factors",
                  array(f->factors, [](const FactorResult& factor) { return json_of(factor); }));
    factorial.interval("interaction", f->interaction).interval("both", f->both);
    factorial.raw("seeds", array(f->seeds, [](int64_t seed) { return fmt::format("{}", seed); }));
    out.raw("factorial", factorial.str());
  }
  out.raw("comparisons", array(result.comparisons, [](const ComparisonResult& c) {
            return Object()
                .text("arm", c.arm)
                .text("reference", c.reference)
                .interval("loss", c.loss)
                .number("probability_of_superiority", c.superiority)
                .str();
          }));
  if (const auto& text = result.text)
    out.raw("text", Object()
                        .number("unigram_bits_per_byte", text->unigram_bits_per_byte)
                        .number("bigram_bits_per_byte", text->bigram_bits_per_byte)
                        .number("unigram_nats", text->unigram_nats)
                        .number("bigram_nats", text->bigram_nats)
                        .str());
  if (const auto& e = result.equal_tokens) {
    const auto number = [](double value) { return json_number(value); };
    out.raw("equal_tokens",
            Object()
                .text("factor", e->factor)
                .raw("levels", array(e->levels, quote))
                .raw("val/loss", array(e->loss, number))
                .raw("tokens_per_second", array(e->tokens_per_second, number))
                .raw("peak_bytes", array(e->peak_bytes, number))
                .number("tokens", e->tokens)
                .number("steps", e->steps)
                .number("largest_training_difference", e->largest_training_difference)
                .str());
  }
  return out.str() + "\n";
}

}  // namespace strobe
