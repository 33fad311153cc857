#include "strobe/study/study_folder.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "strobe/config/load.h"
#include "strobe/config/toml.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_file.h"
#include "strobe/report/outcomes.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr int64_t kLargestFile = 1 << 26;

Json json_in(const std::string& file) { return read_json_or_null("study", file, kLargestFile); }

// A number, or one written as text.
double figure(const Json& object, const std::string& key) {
  if (object.is_object() && object.contains(key)) {
    const Json& value = object[key];
    if (value.is_number()) return value.get<double>();
    if (value.is_string()) return std::strtod(value.get<std::string>().c_str(), nullptr);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<std::string> command_line_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with(kOnCommandLine)) out.push_back(line.substr(kOnCommandLine.size()));
  std::sort(out.begin(), out.end());
  return out;
}

std::string words_of(const std::string& text) {
  const std::vector<std::string> words = command_line_of(text);
  return words.empty() ? "nothing" : fmt::format("'{}'", fmt::join(words, "' '"));
}

// Whatever the comments. What is no TOML is the same as nothing.
bool same_content(const std::string& kept, const std::string& text) {
  try {
    return parse_toml(kept, "study") == parse_toml(text, "study");
  } catch (const Error&) {
    return false;
  }
}

bool holds(const std::string& file, const std::string& text) {
  if (!fs::exists(file)) return false;
  const std::string kept = read_file("study", file, kLargestFile);
  return same_content(kept, text) && command_line_of(kept) == command_line_of(text);
}

// Keeps a text in the folder, or checks that it is the one kept there.
void keep_copy(const std::string& folder, const std::string& name, const std::string& text,
               const std::string& what) {
  const std::string file = folder + "/" + name;
  if (!fs::exists(file)) return write_file("study", file, text);
  const std::string kept = read_file("study", file, kLargestFile);
  if (!same_content(kept, text))
    fail("study: {} holds another study: its {} differs from {}; --out names another folder",
         folder, name, what);
  if (command_line_of(kept) != command_line_of(text))
    fail(
        "study: {} holds another study: it began with {} on the command line, not {}; --out names "
        "another folder",
        folder, words_of(kept), words_of(text));
}

}  // namespace

std::string run_state(const std::string& run) {
  const Json json = json_in(run + "/result.json");
  const bool known = json.is_object() && json.contains("state") && json["state"].is_string();
  return known ? json["state"].get<std::string>() : "";
}

RunFigures run_figures(const std::string& run, const std::string& outcome) {
  const Json json = json_in(run + "/result.json");
  RunFigures out;
  for (const std::string& key : keys_of_outcome(outcome))
    if (out.outcome = figure(json, key); std::isfinite(out.outcome)) break;
  out.tokens = figure(json, "tokens"), out.seconds = figure(json, "seconds");
  out.peak_bytes = figure(json, "peak_bytes"), out.flops = figure(json, "flops");
  return out;
}

void claim_study_folder(const StudyFile& study, const std::string& folder) {
  // What a study that was killed as it began may have left: write_file()'s temporary too.
  const auto left_behind = [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename();
    return name == "lock" || name == "workers" ||
           (name.starts_with("study.toml.") && name.ends_with(".tmp"));
  };
  if (fs::exists(folder) && !fs::exists(folder + "/study.toml") &&
      !(fs::is_directory(folder) &&
        std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), left_behind)))
    fail("study: {} is there and is no study; --out names another folder", folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("study: cannot make {}: {}", folder, error.message());
  std::string base = read_file("study", study.base, kLargestFile);
  if (!study.overrides.empty()) base = to_toml(load_config(study.base, study.overrides).config);
  // A plan that no run has followed binds nobody.
  const bool begun = fs::exists(folder + "/journal.log") || fs::exists(folder + "/runs");
  if (!begun && !(holds(folder + "/study.toml", study.text) && holds(folder + "/base.toml", base)))
    for (const char* name : {"/study.toml", "/base.toml", "/plan.json", "/study.json"})
      fs::remove(folder + name, error);
  keep_copy(folder, "study.toml", study.text, "the file given");
  keep_copy(folder, "base.toml", base, study.base);
}

}  // namespace strobe
