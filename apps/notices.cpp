#include "apps/notices.h"

#include <cstdio>
#include <filesystem>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/optim/unread.h"

namespace strobe {

void note_unread_keys(const Config& config, const LoadedConfig& said, const Config& base) {
  for (const std::string& sentence : unread_keys(config, said, base))
    fmt::print(stderr, "config: {}\n", sentence);
}

void print_note(const std::string& note) {
  fmt::print("{}\n", note);
  std::fflush(stdout);
}

void print_score(const std::string& folder) {
  constexpr int64_t kLargest = 1 << 16;
  const std::string file = folder + "/checkpoints/best.json";
  if (!std::filesystem::exists(file)) return fmt::print("no score: no evaluation gave one\n");
  const nlohmann::json best = read_json("finetune", file, kLargest);
  std::string scores;
  for (const auto& [key, value] : best.items())
    if (key.starts_with("val/"))
      scores += fmt::format(
          "{}{} {}", scores.empty() ? "" : ", ", key.substr(4),
          value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "none (all are alike)");
  fmt::print("best checkpoint: step {}, {}\n", best.at("step").dump(), scores);
}

void fine_tuning_options(Options& options, std::string& from, std::vector<std::string>& overrides) {
  options.value(from, "from", "run, or folder of Hugging Face transformers'", Options::required);
  options.values(overrides, "overrides",
                 "key=value, for any key of 'train --keys'; --print-config shows the defaults of a "
                 "fine-tuning, which are others");
}

void refuse_overrides(const char* verb, const std::vector<std::string>& overrides,
                      std::initializer_list<std::pair<const char*, const char*>> keys) {
  for (const std::string& override : overrides)
    for (const auto& [key, instead] : keys)
      if (override.substr(0, override.find('=')) == key)
        fail("{}: {} is not accepted here: {}", verb, override, instead);
}

}  // namespace strobe
