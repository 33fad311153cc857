#include "strobe/cuda/gemm_plans.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "strobe/core/error.h"

namespace strobe::cuda {

namespace {

namespace fs = std::filesystem;

std::string gpu_name() {
  int device = 0;
  cudaDeviceProp properties;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, device) != cudaSuccess)
    return "unknown";
  return properties.name;
}

std::string first_line(const std::string& library_version) {
  return fmt::format("gemm plans 1, {}, cuBLASLt {}", gpu_name(), library_version);
}

// "" where the user has no home.
fs::path cache_file(const std::string& library_version) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (!(cache && *cache) && !(home && *home)) return {};
  const fs::path folder = cache && *cache ? fs::path(cache) : fs::path(home) / ".cache";
  std::string name = fmt::format("gemm-{}-{}.txt", gpu_name(), library_version);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.') c = '-';
  return folder / "strobe" / name;
}

}  // namespace

std::string plan_key_text(const int64_t* key, size_t length) {
  return fmt::format("{}", fmt::join(key, key + length, " "));
}

std::string to_hex(const void* bytes, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i)
    out += fmt::format("{:02x}", static_cast<const unsigned char*>(bytes)[i]);
  return out;
}

bool from_hex(const std::string& text, void* bytes, size_t size) {
  if (text.size() != 2 * size || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    return false;
  for (size_t i = 0; i < size; ++i)
    static_cast<unsigned char*>(bytes)[i] =
        static_cast<unsigned char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return true;
}

std::string plans_text(const std::string& library_version, const PlanTable& table) {
  std::string out = first_line(library_version) + "\n";
  for (const auto& [key, algorithm] : table) out += fmt::format("{}: {}\n", key, algorithm);
  return out;
}

PlanTable parse_plans(const std::string& library_version, const std::string& text) {
  PlanTable out;
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != first_line(library_version)) return out;
  while (std::getline(lines, line)) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) out[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return out;
}

std::string read_cached_plans(const std::string& library_version) {
  std::ifstream file(cache_file(library_version));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_cached_plans(const std::string& library_version, const std::string& text) {
  const fs::path file = cache_file(library_version);
  if (file.empty() || text.empty()) return;
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  // Whole or not at all: several runs may end at once.
  const fs::path partial = fmt::format("{}.{}.partial", file.string(), ::getpid());
  std::ofstream(partial) << text;
  fs::rename(partial, file, error);
}

}  // namespace strobe::cuda
