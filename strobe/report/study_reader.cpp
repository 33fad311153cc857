#include "strobe/report/study_reader.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/report/json_file.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

std::vector<std::pair<std::string, std::string>> pairs_at(const Json& object, const char* key) {
  std::vector<std::pair<std::string, std::string>> out;
  if (const auto at = object.find(key); at != object.end() && at->is_object())
    for (const auto& [name, value] : at->items()) out.emplace_back(name, scalar_text(value));
  return out;
}

const Json& list_at(const Json& study, const char* key, const std::string& file) {
  const auto at = study.find(key);
  if (at == study.end() || !at->is_array() || at->empty())
    fail("report: {} has no list of {}", file, key);
  return *at;
}

std::optional<RunRecord> run_if_there(const std::string& folder) {
  if (!fs::exists(folder + "/config.toml")) return std::nullopt;
  return read_run(folder);
}

// A path within the study, never one that leads out of it.
std::string inside(const std::string& study, const std::string& path, const std::string& file) {
  const fs::path part(path);
  bool out = part.is_absolute();
  for (const fs::path& step : part) out = out || step == "..";
  if (out) fail("report: {} names {:?}, which is not inside the study's folder", file, path);
  return study + "/" + path;
}

}  // namespace

StudyRecord read_study_record(const std::string& path) {
  const std::string file = path + "/study.json";
  if (!fs::exists(file)) fail("report: {} is not a study folder: it has no study.json", path);
  const Json study = read_json_file(file);
  if (!study.is_object()) fail("report: {} is not a JSON object", file);

  StudyRecord out;
  out.path = path;
  out.name = text_at(study, "name", "study");
  out.question = text_at(study, "question");
  if (const double seconds = number_at(study, "seconds"); seconds > 0) out.seconds = seconds;
  if (const auto factors = study.find("factors"); factors != study.end() && factors->is_object())
    for (const auto& [name, levels] : factors->items()) {
      out.factors.push_back({name, {}});
      for (const Json& level : levels) out.factors.back().levels.push_back(scalar_text(level));
    }
  for (const Json& seed : list_at(study, "seeds", file)) {
    if (!seed.is_number_integer())
      fail("report: {}: a seed is {}, not an integer", file, seed.dump());
    out.seeds.push_back(seed.get<int64_t>());
  }
  for (const Json& arm : list_at(study, "arms", file)) {
    const std::string name = arm.is_object() ? text_at(arm, "name") : "";
    if (name.empty()) fail("report: {}: an arm has no name", file);
    out.arms.push_back({name, pairs_at(arm, "levels"), pairs_at(arm, "overrides"), {}});
    for (const int64_t seed : out.seeds)
      out.arms.back().runs.push_back(
          run_if_there(inside(path, fmt::format("runs/{}-s{}", name, seed), file)));
  }
  if (const auto text = study.find("text"); text != study.end() && text->is_object())
    out.text = {number_at(*text, "unigram_bits_per_byte"), number_at(*text, "bigram_bits_per_byte"),
                number_at(*text, "unigram_nats"), number_at(*text, "bigram_nats")};
  if (const auto equal = study.find("equal_tokens"); equal != study.end() && equal->is_object()) {
    out.equal_tokens_factor = text_at(*equal, "factor");
    for (const auto& [level, folder] : pairs_at(*equal, "runs"))
      if (auto run = run_if_there(inside(path, folder, file)))
        out.equal_tokens.emplace_back(level, std::move(*run));
  }
  return out;
}

}  // namespace strobe
