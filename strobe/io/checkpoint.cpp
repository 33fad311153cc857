#include "strobe/io/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/core/files.h"
#include "strobe/core/json_text.h"
#include "strobe/io/safetensors.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kPrefix = "step_";

std::string name_of_step(int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

// Finished checkpoints, newest first.
std::vector<std::pair<int64_t, std::string>> checkpoints_in(const std::string& folder) {
  std::vector<std::pair<int64_t, std::string>> out;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix) || name.size() > 24) continue;
    const std::string digits = name.substr(std::string_view(kPrefix).size());
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    out.emplace_back(std::stoll(digits), entry.path());
  }
  std::sort(out.rbegin(), out.rend());
  return out;
}

std::map<std::string, Tensor> model_tensors(std::span<Param* const> params) {
  std::map<std::string, Tensor> out;
  for (const Param* p : params) out.emplace(p->name, p->stored(p->value));
  return out;
}

std::map<std::string, Tensor> optimizer_tensors(std::span<Param* const> params) {
  std::map<std::string, Tensor> out;
  for (const Param* p : params)
    for (size_t i = 0; i < p->state.size(); ++i)
      out.emplace(fmt::format("{}.state{}", p->name, i), p->stored(p->state[i]));
  return out;
}

// A whole safetensors file in host memory.
std::vector<char> image(Backend& ops, const std::map<std::string, Tensor>& tensors) {
  std::map<std::string, int64_t> offsets;
  const std::string header = safetensors_header(tensors, {{"format", "pt"}}, offsets);
  int64_t size = static_cast<int64_t>(header.size());
  for (const auto& [name, tensor] : tensors) size += tensor.bytes();
  std::vector<char> out(static_cast<size_t>(size));
  std::copy(header.begin(), header.end(), out.begin());
  for (const auto& [name, tensor] : tensors) ops.download(out.data() + offsets.at(name), tensor);
  return out;
}

std::span<const std::byte> bytes_of(const std::vector<char>& data) {
  return std::as_bytes(std::span(data));
}

void write_whole(const std::string& file, std::span<const std::byte> bytes) {
  FileWriter writer("checkpoint", file);
  writer.write(bytes.data(), bytes.size());
  writer.commit();
}

nlohmann::json read_state(const std::string& checkpoint) {
  const std::string file = checkpoint + "/state.json";
  const MappedFile mapped("checkpoint", file);
  const char* text = reinterpret_cast<const char*>(mapped.bytes().data());
  nlohmann::json json = nlohmann::json::parse(text, text + mapped.bytes().size(), nullptr, false);
  const auto holds = [&](const char* key) { return json.contains(key) && json[key].is_number(); };
  if (!json.is_object() || !holds("step") || !holds("tokens") || !holds("seconds") ||
      !json.contains("checksums") || !json["checksums"].is_object())
    fail("checkpoint: {} is damaged", file);
  return json;
}

// Opens a file of a checkpoint and compares its checksum with the one on record.
SafetensorsFile open_verified(const std::string& checkpoint, const char* name,
                              const nlohmann::json& state) {
  const std::string path = checkpoint + "/" + name;
  const nlohmann::json& sums = state["checksums"];
  if (!sums.contains(name) || !sums[name].is_string())
    fail("checkpoint: {}/state.json has no checksum of {}", checkpoint, name);
  const MappedFile file("checkpoint", path);
  const std::string sum = fmt::format("{:016x}", checksum(file.bytes()));
  if (sum != sums[name].get<std::string>())
    fail("checkpoint: {} is damaged: its checksum is {}, {} was written", path, sum,
         sums[name].get<std::string>());
  return SafetensorsFile::open(path);
}

void load(const SafetensorsFile& file, Backend& ops, const std::map<std::string, Tensor>& tensors) {
  for (const auto& [name, target] : tensors) {
    const Tensor source = file.tensor(name);
    if (source.dtype != target.dtype || source.rank != target.rank || source.shape != target.shape)
      fail("checkpoint: {}: '{}' is {}, the model's is {}", file.path(), name, to_string(source),
           to_string(target));
  }
  for (const auto& [name, target] : tensors) ops.upload(target, file.tensor(name).data);
}

}  // namespace

struct CheckpointWriter::Snapshot {
  TrainState state;
  std::vector<char> model, optimizer;
};

CheckpointWriter::CheckpointWriter(std::string folder, int64_t keep)
    : folder_(std::move(folder)), keep_(keep) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("checkpoint: cannot make {}: {}", folder_, error.message());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
    if (entry.path().extension() == ".partial") fs::remove_all(entry.path(), error);
}

CheckpointWriter::~CheckpointWriter() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CheckpointWriter::save(Backend& ops, std::span<Param* const> params, const TrainState& state) {
  wait();
  const int64_t needed = checkpoint_bytes(params), free = free_disk_bytes(folder_);
  if (free >= 0 && free < needed)
    fail("checkpoint: {} needs {}, the disk has {} left", folder_, format_bytes(needed),
         format_bytes(free));
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->state = state;
  snapshot->model = image(ops, model_tensors(params));
  snapshot->optimizer = image(ops, optimizer_tensors(params));
  thread_ = std::thread([this, snapshot] {
    try {
      write(*snapshot);
      prune(snapshot->state);
    } catch (...) {
      error_ = std::current_exception();
    }
  });
}

void CheckpointWriter::write(const Snapshot& snapshot) const {
  const std::string final_path = folder_ + "/" + name_of_step(snapshot.state.step);
  const std::string path = final_path + ".partial";
  std::error_code error;
  fs::remove_all(path, error);
  if (!fs::create_directory(path, error))
    fail("checkpoint: cannot make {}: {}", path, error.message());
  write_whole(path + "/" + kModel, bytes_of(snapshot.model));
  write_whole(path + "/" + kOptimizer, bytes_of(snapshot.optimizer));
  const TrainState& s = snapshot.state;
  const std::string state = fmt::format(
      "{{\n  \"step\": {},\n  \"tokens\": {},\n  \"seconds\": {},\n  \"best_loss\": {},\n  "
      "\"best_step\": {},\n"
      "  \"checksums\": {{\n    \"{}\": \"{:016x}\",\n    \"{}\": \"{:016x}\"\n  }}\n}}\n",
      s.step, json_number(s.tokens), json_number(s.seconds), json_number(s.best_loss), s.best_step,
      kModel, checksum(bytes_of(snapshot.model)), kOptimizer,
      checksum(bytes_of(snapshot.optimizer)));
  write_whole(path + "/state.json", std::as_bytes(std::span(state)));
  sync_folder(path);
  // A checkpoint of this very step can exist after resuming from an older one: it makes way.
  const std::string old = final_path + ".old.partial";
  if (fs::exists(final_path)) fs::rename(final_path, old);
  fs::rename(path, final_path, error);
  if (error) fail("checkpoint: cannot name {}: {}", final_path, error.message());
  sync_folder(folder_);
  fs::remove_all(old, error);
  if (s.best_step == s.step) {
    const std::string best =
        fmt::format("{{\"step\": {}, \"val/loss\": {}}}\n", s.step, json_number(s.best_loss));
    write_whole(folder_ + "/best.json", std::as_bytes(std::span(best)));
    sync_folder(folder_);
  }
}

void CheckpointWriter::prune(const TrainState& state) const {
  if (keep_ <= 0) return;
  int64_t kept = 0;
  for (const auto& [step, path] : checkpoints_in(folder_)) {
    if (kept < keep_ || step == state.best_step) {
      ++kept;
      continue;
    }
    // Out of sight first, so that a kill leaves no half-removed checkpoint under a final name.
    std::error_code error;
    fs::rename(path, path + ".partial", error);
    fs::remove_all(path + ".partial", error);
  }
}

int64_t checkpoint_bytes(std::span<Param* const> params) {
  int64_t bytes = 4096;
  for (const Param* p : params) {
    constexpr int64_t kHeaderShare = 256;
    bytes +=
        (p->stored(p->value).bytes() + kHeaderShare) * static_cast<int64_t>(1 + p->state.size());
  }
  return bytes;
}

TrainState load_newest_checkpoint(const std::string& folder, Backend& ops,
                                  std::span<Param* const> params,
                                  const std::function<void(const std::string&)>& note) {
  for (const auto& [step, path] : checkpoints_in(folder)) {
    try {
      const nlohmann::json json = read_state(path);
      const SafetensorsFile model = open_verified(path, kModel, json);
      const SafetensorsFile optimizer = open_verified(path, kOptimizer, json);
      load(model, ops, model_tensors(params));
      load(optimizer, ops, optimizer_tensors(params));
      TrainState state;
      state.step = json["step"].get<int64_t>();
      state.tokens = json["tokens"].get<double>();
      state.seconds = json["seconds"].get<double>();
      if (json.contains("best_step") && json["best_step"].is_number_integer() &&
          json.contains("best_loss") && json["best_loss"].is_number()) {
        state.best_step = json["best_step"].get<int64_t>();
        state.best_loss = json["best_loss"].get<double>();
      }
      return state;
    } catch (const Error& error) {
      if (note) note(fmt::format("{}; trying the checkpoint before it", error.what()));
    }
  }
  fail("checkpoint: {} holds no whole checkpoint that fits this configuration", folder);
}

std::string best_checkpoint(const std::string& folder) {
  const std::string file = folder + "/best.json";
  if (fs::exists(file)) {
    const MappedFile mapped("checkpoint", file);
    const char* text = reinterpret_cast<const char*>(mapped.bytes().data());
    const auto json = nlohmann::json::parse(text, text + mapped.bytes().size(), nullptr, false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) {
      const std::string path = folder + "/" + name_of_step(json["step"].get<int64_t>());
      if (fs::exists(path + "/state.json")) return path;
    }
  }
  for (const auto& [step, path] : checkpoints_in(folder))
    if (fs::exists(path + "/state.json")) return path;
  fail("checkpoint: {} holds no checkpoint", folder);
}

void load_weights(const std::string& checkpoint, Backend& ops, std::span<Param* const> params) {
  load(open_verified(checkpoint, kModel, read_state(checkpoint)), ops, model_tensors(params));
}

}  // namespace strobe
