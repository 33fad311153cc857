#include "strobe/io/train_state.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"

namespace strobe {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargest = 1 << 20;

// Each number of a state with its key.
template <class State, class Number>
void each_number(State& s, const Number& number) {
  number("step", s.step), number("tokens", s.tokens), number("tokens_seen", s.tokens_seen);
  number("flops", s.flops);
  number("seconds", s.seconds), number("best_loss", s.best_loss);
  number("best_step", s.best_step), number("best_tied_loss", s.best_tied_loss);
  number("since_best", s.since_best);
  number("ema_steps", s.ema_steps), number("snapshots", s.snapshots);
  number("lr_most", s.lr_most), number("lr_squares", s.lr_squares);
  number("plateau_best", s.plateau_best), number("plateau_factor", s.plateau_factor);
  number("plateau_bad", s.plateau_bad);
}

// An object that lacks its end, and a last member that vouches for it.
std::string sealed(std::string_view object) {
  return fmt::format("{},\n  \"checksum\": \"{:016x}\"\n}}\n", object,
                     checksum(std::as_bytes(std::span(object))));
}

}  // namespace

std::string to_text(const StateFile& file) {
  const TrainState& s = file.state;
  Json json;
  each_number(s, [&](const char* key, auto value) { json[key] = value; });  // none: null
  for (const auto& [name, score] : s.best_scores) json["best_scores"][name] = score;
  json["evaluation_due"] = s.evaluation_due;
  if (!s.gemm_plans.empty()) json["gemm_plans"] = s.gemm_plans;
  json["checksums"] = file.checksums;
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  return sealed(std::string_view(text).substr(0, text.rfind("\n}")));
}

StateFile read_state(const std::string& checkpoint) {
  const std::string file = checkpoint + "/state.json";
  const std::string text = read_file("checkpoint", file, kLargest);
  const size_t seal = sealed("").size();
  if (text.size() < seal || sealed(std::string_view(text).substr(0, text.size() - seal)) != text)
    fail("checkpoint: {} is damaged: its checksum does not match", file);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto holds = [&](const char* key) { return json.contains(key) && json[key].is_number(); };
  if (!json.is_object() || !holds("step") || !holds("tokens") || !holds("seconds") ||
      !json.contains("checksums") || !json["checksums"].is_object())
    fail("checkpoint: {} is not the state of a run", file);
  StateFile out;
  TrainState& s = out.state;
  s.tokens_seen = json["tokens"].get<double>(), s.flops = NAN;  // unless they are there
  each_number(s, [&](const char* key, auto& value) {
    if (holds(key)) json[key].get_to(value);
  });
  if (const auto scores = json.find("best_scores"); scores != json.end() && scores->is_object())
    for (const auto& [name, value] : scores->items())
      if (value.is_number() || value.is_null())
        s.best_scores.emplace_back(name, value.is_null() ? NAN : value.get<double>());
  s.evaluation_due = json.contains("evaluation_due") && json["evaluation_due"] == true;
  if (json.contains("gemm_plans") && json["gemm_plans"].is_string())
    s.gemm_plans = json["gemm_plans"].get<std::string>();
  for (const auto& [name, sum] : json["checksums"].items())
    if (sum.is_string()) out.checksums[name] = sum.get<std::string>();
  return out;
}

}  // namespace strobe
