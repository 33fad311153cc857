// strobe tensors: what a safetensors file holds.
#include <algorithm>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/io/safetensors.h"

namespace strobe {

namespace {

using Entry = std::pair<std::string, SafetensorsEntry>;

// In the order in which the data lies.
std::vector<Entry> entries_of(const SafetensorsHeader& header) {
  std::vector<Entry> entries(header.tensors.begin(), header.tensors.end());
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.second.begin, a.second.end) < std::pair(b.second.begin, b.second.end);
  });
  return entries;
}

std::string json_of(const std::string& path, const SafetensorsHeader& header) {
  std::string text = fmt::format("{{\"file\": {}, \"metadata\": {{", json_quote(path));
  const char* separator = "";
  for (const auto& [key, value] : header.metadata) {
    text += fmt::format("{}{}: {}", separator, json_quote(key), json_quote(value));
    separator = ", ";
  }
  text += "}, \"tensors\": [";
  separator = "";
  for (const auto& [name, e] : entries_of(header)) {
    text +=
        fmt::format(R"({}{{"name": {}, "dtype": "{}", "shape": [{}], "offsets": [{}, {}]}})",
                    separator, json_quote(name), e.dtype, fmt::join(e.shape, ", "), e.begin, e.end);
    separator = ", ";
  }
  return text + "]}";
}

void print_table(const std::string& path, const SafetensorsHeader& header) {
  fmt::print("{}: {} tensors\n", path, header.tensors.size());
  for (const auto& [key, value] : header.metadata) fmt::print("  {} = {}\n", key, value);
  for (const auto& [name, e] : entries_of(header))
    fmt::print("  {}  {} ({})\n", name, e.dtype, fmt::join(e.shape, ", "));
}

int run_tensors(const std::vector<std::string>& files, bool json) {
  int status = 0;
  for (const std::string& path : files) {
    try {
      const SafetensorsFile file = SafetensorsFile::open(path);
      if (json)
        fmt::print("{}\n", json_of(path, file.header()));
      else
        print_table(path, file.header());
    } catch (const Error& error) {
      if (!json && files.size() == 1) throw;
      status = 1;
      if (json)
        fmt::print("{{\"file\": {}, \"error\": {}}}\n", json_quote(path), json_quote(error.what()));
      else
        fmt::print(stderr, "strobe: {}\n", error.what());
    }
  }
  return status;
}

}  // namespace

Verb verb_tensors() {
  return {"tensors", "List the tensors of safetensors files, or say what is wrong with them",
          "strobe tensors gpt2/model.safetensors", [](Options& options) {
            auto files = std::make_shared<std::vector<std::string>>();
            auto json = std::make_shared<bool>(false);
            options.values(*files, "files", "safetensors files", Options::required);
            options.flag(*json, "--json", "print one JSON object a file, errors too");
            return [=] { return run_tensors(*files, *json); };
          }};
}

}  // namespace strobe
