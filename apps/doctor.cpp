// strobe doctor: what this machine can do, what is slow here and why.
#include <archive.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "apps/measure.h"
#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/core/arena.h"
#include "strobe/core/json_text.h"
#include "strobe/core/memory.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"

namespace strobe {

namespace {

// What was found: a key, a value for people, and a number where there is one.
struct Fact {
  std::string name, text;
  Cell value;
};

struct Report {
  std::vector<Fact> facts;
  std::vector<std::string> advice;

  void add(const std::string& name, const std::string& text) {
    facts.push_back({name, text, text});
  }
  void add(const std::string& name, const std::string& text, Cell value) {
    facts.push_back({name, text, std::move(value)});
  }
  void print(bool json) const;
};

void Report::print(bool json) const {
  if (!json) {
    for (const Fact& fact : facts) fmt::print("{:<24}{}\n", fact.name, fact.text);
    fmt::print("\n{}\n", advice.empty() ? "nothing slows strobe down here" : "slow here:");
    for (const std::string& line : advice) fmt::print("  - {}\n", line);
    return;
  }
  fmt::print("{{");
  for (const Fact& fact : facts) {
    std::string key = fact.name;
    for (char& c : key)
      if (c == ' ') c = '_';
    fmt::print("{}: {}, ", json_quote(key), json_cell(fact.value));
  }
  fmt::print("\"advice\": [");
  for (size_t i = 0; i < advice.size(); ++i)
    fmt::print("{}{}", i ? ", " : "", json_quote(advice[i]));
  fmt::print("]}}\n");
}

int64_t memory_bytes(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;)
    if (word == key + ":") {
      int64_t kilobytes = 0;
      file >> kilobytes;
      return kilobytes * 1024;
    }
  return 0;
}

double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

std::string first_line(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

void describe_machine(Report& report, const DeviceInfo& info) {
  report.add("strobe", fmt::format("{}, {} build", STROBE_VERSION, STROBE_BUILD_TYPE));
  for (const auto& [name, text] : info.details)
    if (name != "warning") report.add(name, text);
  report.add("libarchive", archive_version_string() + std::string_view("libarchive ").size());
  report.add("fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
                                FMT_VERSION % 100));
  const int64_t cores = std::thread::hardware_concurrency();
  report.add("threads", fmt::format("{} on {} cores", threads(), cores), int64_t{threads()});
  const int64_t total = memory_bytes("MemTotal"), available = available_bytes();
  report.add("memory", format_bytes(total), total);
  report.add("memory available", format_bytes(available), available);
  std::error_code error;
  const auto disk = std::filesystem::space(".", error);
  if (!error)
    report.add("disk free here", format_bytes(static_cast<int64_t>(disk.available)),
               static_cast<int64_t>(disk.available));
  report.add("load", fmt::format("{:.1f}", load_average()), load_average());
}

void measure_machine(Report& report, Backend& ops) {
  // On a GPU: beyond its caches, and large enough to fill it.
  const bool gpu = ops.info().kind == "cuda";
  const int64_t bytes = int64_t{gpu ? 1024 : 128} << 20, side = gpu ? 8192 : 1024;
  const Measured copy = measure_copy(ops, bytes);
  const double rate = 2.0 * bytes / copy.seconds * 1e-9;
  report.add("copy", copy.busy ? "busy" : fmt::format("{:.1f} GB/s read and written", rate),
             copy.busy ? Cell{} : Cell{rate});
  bool busy = copy.busy;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (dtype == DType::bf16 && !ops.info().fast_bf16) continue;
    const Buffer a(ops, dtype, {side, side}), b(ops, dtype, {side, side});
    const Buffer c(ops, dtype, {side, side});
    const Measured time = measure(ops, [&] { ops.matmul(c, a, b); });
    const double gflops = 2e-9 * side * side * side / time.seconds;
    report.add(fmt::format("matmul {}", name_of(dtype)),
               time.busy ? "busy" : fmt::format("{:.0f} GFLOP/s", gflops),
               time.busy ? Cell{} : Cell{gflops});
    busy = busy || time.busy;
  }
  report.add("busy", busy ? "yes" : "no", busy);
  if (busy)
    report.advice.push_back(
        fmt::format("the machine is busy (load {:.1f}): rates marked so could not be measured, and "
                    "training shares the cores",
                    load_average()));
}

// Why a machine with an NVIDIA driver or toolkit would train on its CPU.
void advise_on_gpu(Report& report, const DeviceInfo& info) {
  if (info.kind == "cuda") {
    for (const auto& [name, text] : info.details)
      if (name == "warning") report.advice.push_back(text);
    if (info.free_bytes < info.memory_bytes / 10 * 9)
      report.advice.push_back(fmt::format("only {} of the GPU's {} are free",
                                          format_bytes(info.free_bytes),
                                          format_bytes(info.memory_bytes)));
    return;
  }
  const std::string missing = cuda_missing();
  report.add("GPU", fmt::format("none in use: {}", missing));
}

void advise(Report& report, const DeviceInfo& info) {
  advise_on_gpu(report, info);
  const std::string_view build = STROBE_BUILD_TYPE;
  const char* const sanitizers = STROBE_SANITIZE;
  if (build != "Release" && build != "RelWithDebInfo")
    report.advice.push_back(fmt::format(
        "this is a {} build, several times slower; build with -DCMAKE_BUILD_TYPE=Release", build));
  if (*sanitizers)
    report.advice.push_back(
        fmt::format("built with sanitizers ({}), several times slower", sanitizers));
  if (!info.fast_bf16)
    report.advice.push_back(
        "no bf16 products (AVX512-BF16 or AMX): train with precision=f32, which auto chooses");
  if (const char* masked = std::getenv("STROBE_CPU_ISA"); masked && *masked)
    report.advice.push_back(fmt::format(
        "STROBE_CPU_ISA={} may hold the kernels below what the machine has; unset it", masked));
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (threads() > cores)
    report.advice.push_back(fmt::format("{} threads on {} cores wait for each other; ask for {}",
                                        threads(), cores, cores));
  if (const std::string pages = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
      pages.find("[never]") != std::string::npos)
    report.advice.push_back(
        "transparent huge pages are off; 'madvise' in "
        "/sys/kernel/mm/transparent_hugepage/enabled makes large tensors cheaper to reach");
  const int64_t available = available_bytes();
  if (available > 0 && available < int64_t{4} << 30)
    report.advice.push_back(fmt::format("{} of memory are available; GPT-2 124M wants about 4 GiB",
                                        format_bytes(available)));
}

}  // namespace

Verb verb_doctor() {
  return {"doctor", "What this machine can do, what is slow here and why", "strobe doctor",
          [](Options& options) {
            auto json = std::make_shared<bool>(false);
            options.flag(*json, "--json", "Print JSON");
            return [json] {
              Report report;
              const auto ops = make_backend("auto");
              describe_machine(report, ops->info());
              measure_machine(report, *ops);
              advise(report, ops->info());
              report.print(*json);
              return 0;
            };
          }};
}

}  // namespace strobe
