#include "strobe/io/checkpoint.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <map>
#include <memory>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/core/files.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kPrefix = "step_";
constexpr std::string_view kPartial = ".partial";  // being written, or being removed
constexpr std::string_view kOld = ".old.partial";  // making way for another of its step
constexpr int64_t kLargestText = 1 << 20;          // bytes of state.json or best.json

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
  for (const Param* p : params) out.emplace(p->name, p->stored(p->used ? p->used : p->value));
  return out;
}

std::map<std::string, Tensor> optimizer_tensors(std::span<Param* const> params) {
  std::map<std::string, Tensor> out;
  for (const Param* p : params)
    for (size_t i = 0; i < p->state.size(); ++i)
      out.emplace(fmt::format("{}.state{}", p->name, i), p->stored(p->state[i]));
  for (const Param* p : params) {
    if (p->used) out.emplace(p->name + ".value", p->stored(p->value));
    for (const auto& [name, tensor] : p->kept) out.emplace(p->name + "." + name, p->stored(tensor));
  }
  return out;
}

// A whole safetensors file in host memory.
struct Image {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory;
  size_t size = 0;

  explicit Image(size_t bytes) : size(bytes) {
    // Training waits for the copy into it, and most of that is the kernel's work on each new page:
    // large pages make it little. They are aligned for writing past the page cache, too.
    constexpr size_t kPage = 2 << 20;
    static_assert(kPage % FileWriter::kDirectUnit == 0);
    const size_t room = (bytes + kPage - 1) / kPage * kPage;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, room)));
    if (!memory)
      fail("checkpoint: no memory for a copy of {}", format_bytes(static_cast<int64_t>(bytes)));
    ::madvise(memory.get(), room, MADV_HUGEPAGE);  // a hint
  }
  std::span<const std::byte> bytes() const { return {memory.get(), size}; }
};

Image image_of(Backend& ops, const std::map<std::string, Tensor>& tensors) {
  std::map<std::string, int64_t> offsets;
  const std::string header = safetensors_header(tensors, {{"format", "pt"}}, offsets);
  size_t size = header.size();
  for (const auto& [name, tensor] : tensors) size += static_cast<size_t>(tensor.bytes());
  Image out(size);
  std::memcpy(out.memory.get(), header.data(), header.size());
  for (const auto& [name, tensor] : tensors)
    ops.download(out.memory.get() + offsets.at(name), tensor);
  return out;
}

void write_whole(const std::string& file, std::string_view text) {
  FileWriter writer("checkpoint", file);
  writer.write(text.data(), text.size());
  writer.commit();
}

// Writes all of an image, and returns its checksum, which is computed meanwhile.
uint64_t write_whole(const std::string& file, const Image& image) {
  constexpr size_t kPiece = 16 << 20;
  auto sum = std::async(std::launch::async, [&] { return checksum(image.bytes()); });
  FileWriter writer("checkpoint", file);
  writer.bypass_cache(true);
  std::span<const std::byte> left = image.bytes();
  for (; left.size() >= kPiece; left = left.subspan(kPiece)) writer.write(left.data(), kPiece);
  writer.bypass_cache(false);
  writer.write(left.data(), left.size());
  writer.commit();
  return sum.get();
}

// Opens a file of a checkpoint and compares its checksum with the one on record.
SafetensorsFile open_verified(const std::string& checkpoint, const char* name,
                              const StateFile& state) {
  const std::string path = checkpoint + "/" + name;
  const auto written = state.checksums.find(name);
  if (written == state.checksums.end())
    fail("checkpoint: {}/state.json has no checksum of {}", checkpoint, name);
  const MappedFile file("checkpoint", path);
  const std::string sum = fmt::format("{:016x}", checksum(file.bytes()));
  if (sum != written->second)
    fail("checkpoint: {} is damaged: its checksum is {}, {} was written", path, sum,
         written->second);
  return SafetensorsFile::open(path);
}

// Throws Error unless `file` holds `tensors` and nothing else.
void check_fits(const SafetensorsFile& file, const std::map<std::string, Tensor>& tensors) {
  for (const auto& [name, entry] : file.header().tensors)
    if (!tensors.contains(name))
      fail("checkpoint: {} holds '{}', for which this model and optimizer have no place",
           file.path(), name);
  for (const auto& [name, target] : tensors) {
    const Tensor source = file.tensor(name);
    if (source.dtype != target.dtype || source.rank != target.rank || source.shape != target.shape)
      fail("checkpoint: {}: '{}' is {}, the model's is {}", file.path(), name, to_string(source),
           to_string(target));
  }
}

// Out of sight first, so that a kill leaves no half-removed checkpoint under a final name.
void remove_checkpoint(const std::string& path) {
  std::error_code error;
  const std::string hidden = fmt::format("{}{}", path, kPartial);
  fs::remove_all(hidden, error);
  fs::rename(path, hidden, error);
  fs::remove_all(hidden, error);
}

void upload(const SafetensorsFile& file, Backend& ops,
            const std::map<std::string, Tensor>& tensors) {
  for (const auto& [name, target] : tensors) ops.upload(target, file.tensor(name).data);
}

}  // namespace

struct CheckpointWriter::Snapshot {
  Snapshot(const TrainState& state, Image model, Image optimizer)
      : state(state), model(std::move(model)), optimizer(std::move(optimizer)) {}
  TrainState state;
  Image model, optimizer;
};

CheckpointWriter::CheckpointWriter(std::string folder, int64_t keep)
    : folder_(std::move(folder)), keep_(keep) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("checkpoint: cannot make {}: {}", folder_, error.message());
  std::vector<std::string> left_behind;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
    if (entry.path().extension() == kPartial) left_behind.push_back(entry.path());
  for (const std::string& path : left_behind) {
    // Killed while one replaced another: the old one is back if the new one has no name yet.
    const std::string replaced =
        path.ends_with(kOld) ? path.substr(0, path.size() - kOld.size()) : "";
    if (!replaced.empty() && !fs::exists(replaced)) fs::rename(path, replaced, error);
    fs::remove_all(path, error);
  }
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
  check_disk_room(folder_, checkpoint_bytes(params));
  const auto snapshot = std::make_shared<const Snapshot>(
      state, image_of(ops, model_tensors(params)), image_of(ops, optimizer_tensors(params)));
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
  const TrainState& s = snapshot.state;
  const std::string final_path = folder_ + "/" + name_of_step(s.step);
  const std::string path = fmt::format("{}{}", final_path, kPartial);
  std::error_code error;
  fs::remove_all(path, error);
  if (!fs::create_directory(path, error))
    fail("checkpoint: cannot make {}: {}", path, error.message());
  StateFile file{s, {}};
  const auto write_image = [&](const char* name, const Image& image) {
    file.checksums[name] = fmt::format("{:016x}", write_whole(path + "/" + name, image));
  };
  write_image(kModel, snapshot.model), write_image(kOptimizer, snapshot.optimizer);
  write_whole(path + "/state.json", to_text(file));
  sync_folder(path);
  // One of this very step can exist after resuming from an older one: it makes way.
  const std::string old = fmt::format("{}{}", final_path, kOld);
  fs::remove_all(old, error);
  if (fs::exists(final_path)) fs::rename(final_path, old, error);
  fs::rename(path, final_path, error);
  if (error) fail("checkpoint: cannot name {}: {}", final_path, error.message());
  sync_folder(folder_);
  fs::remove_all(old, error);
  // Of a best that was not saved, nobody is to ask for the weights.
  if (s.best_step >= 0 && fs::exists(folder_ + "/" + name_of_step(s.best_step))) {
    std::string best = fmt::format("{{\"step\": {}", s.best_step);
    for (const auto& [name, value] : s.best_scores)
      best += fmt::format(", {}: {}", json_quote(name), json_number(value));
    if (s.best_scores.empty()) best += fmt::format(", \"val/loss\": {}", json_number(s.best_loss));
    write_whole(folder_ + "/best.json", best + "}\n");
    sync_folder(folder_);
  }
}

void CheckpointWriter::prune(const TrainState& state) const {
  int64_t kept = 0;
  for (const auto& [step, path] : checkpoints_in(folder_)) {
    // Those of later steps are damaged, or of a future that is being trained again: left alone,
    // they would be kept in place of this one.
    const bool passed = step > state.step;
    if (!passed && (keep_ <= 0 || kept < keep_ || step == state.best_step)) {
      ++kept;
      continue;
    }
    remove_checkpoint(path);
  }
}

int64_t checkpoint_bytes(std::span<Param* const> params) {
  int64_t bytes = 4096;
  for (const Param* p : params) {
    constexpr int64_t kHeaderShare = 256;
    const auto add = [&](const Tensor& x) { bytes += p->stored(x).bytes() + kHeaderShare; };
    add(p->value);
    if (p->used) add(p->used);
    for (const Tensor& state : p->state) add(state);
    for (const auto& [name, tensor] : p->kept) add(tensor);
  }
  return bytes;
}

void check_disk_room(const std::string& folder, int64_t bytes) {
  const int64_t free = free_disk_bytes(folder);
  if (free >= 0 && free < bytes)
    fail("checkpoint: {} needs {}, the disk has {} left", folder, format_bytes(bytes),
         format_bytes(free));
}

bool has_checkpoint(const std::string& folder) { return !checkpoints_in(folder).empty(); }

TrainState load_newest_checkpoint(const std::string& folder, Backend& ops,
                                  std::span<Param* const> params,
                                  const std::function<void(const std::string&)>& note) {
  if (has_weights_alone(folder))
    fail(
        "checkpoint: {} has weights alone: another run can begin with them (init_from), but this "
        "one cannot go on",
        folder);
  for (const auto& [step, path] : checkpoints_in(folder)) {
    try {
      const StateFile file = read_state(path);
      if (file.state.step != step)
        fail("checkpoint: {} is of step {}: it was renamed", path, file.state.step);
      const SafetensorsFile model = open_verified(path, kModel, file);
      const SafetensorsFile optimizer = open_verified(path, kOptimizer, file);
      check_fits(model, model_tensors(params));
      check_fits(optimizer, optimizer_tensors(params));
      upload(model, ops, model_tensors(params));
      upload(optimizer, ops, optimizer_tensors(params));
      return file.state;
    } catch (const Error& error) {
      if (note) note(fmt::format("{}; trying the checkpoint before it", error.what()));
    }
  }
  fail("checkpoint: {} holds no whole checkpoint that fits this configuration", folder);
}

void keep_best_weights(const std::string& folder) {
  const std::string best = best_checkpoint(folder);
  for (const auto& [step, path] : checkpoints_in(folder))
    if (path != best) remove_checkpoint(path);
  std::error_code error;
  fs::remove(best + "/" + kOptimizer, error);
}

bool has_weights_alone(const std::string& folder) {
  const auto all = checkpoints_in(folder);
  return all.size() == 1 && fs::exists(all[0].second + "/" + kModel) &&
         !fs::exists(all[0].second + "/" + kOptimizer);
}

std::string best_checkpoint(const std::string& folder) {
  const auto json = read_json_or_null("checkpoint", folder + "/best.json", kLargestText);
  if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) {
    std::string path = folder + "/" + name_of_step(json["step"].get<int64_t>());
    if (fs::exists(path + "/state.json")) return path;
  }
  for (const auto& [step, path] : checkpoints_in(folder))
    if (fs::exists(path + "/state.json")) return path;
  fail("checkpoint: {} holds no checkpoint", folder);
}

SafetensorsFile open_weights(const std::string& checkpoint) {
  return open_verified(checkpoint, kModel, read_state(checkpoint));
}

void load_weights(const std::string& checkpoint, Backend& ops, std::span<Param* const> params) {
  const SafetensorsFile file = open_weights(checkpoint);
  std::map<std::string, Tensor> weights;
  for (const Param* p : params) weights.emplace(p->name, p->stored(p->value));
  check_fits(file, weights);
  upload(file, ops, weights);
}

void load_average(const std::string& checkpoint, const std::string& name, Backend& ops,
                  std::span<Param* const> params) {
  const StateFile state = read_state(checkpoint);
  const SafetensorsFile file = open_verified(checkpoint, kOptimizer, state);
  const auto& tensors = file.header().tensors;
  const auto has = [&](const std::string& tensor) { return tensors.contains(tensor); };
  int64_t count = 0;  // of the tensors whose mean it is
  if (name == "lawa") {
    const int64_t taken = state.state.snapshots;
    while (count < taken && has(fmt::format("{}.lawa{}", params[0]->name, count))) ++count;
  } else if (name == "ema" && state.state.ema_steps > 0) {
    count = has(params[0]->name + ".ema") ? 1 : 0;
  }
  if (count == 0) fail("checkpoint: {} has no average '{}' of the weights", checkpoint, name);
  for (const Param* p : params) {
    const Tensor target = p->stored(p->value);
    std::vector<float> mean(static_cast<size_t>(target.numel()), 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const Tensor source =
          file.tensor(name == "lawa" ? fmt::format("{}.lawa{}", p->name, i) : p->name + ".ema");
      if (source.numel() != target.numel())
        fail("checkpoint: {}: an average of '{}' is {}, the model's is {}", file.path(), p->name,
             to_string(source), to_string(target));
      for (size_t j = 0; j < mean.size(); ++j)
        mean[j] += source.as<float>()[j] / static_cast<float>(count);
    }
    ops.upload(target, mean.data());
  }
}

}  // namespace strobe
