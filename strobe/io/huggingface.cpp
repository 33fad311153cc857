#include "strobe/io/huggingface.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kLargestIndex = 256 << 20;

float from_f16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = half >> 10 & 0x1F, mantissa = half & 0x3FF;
  if (exponent == 0) {  // zero, and numbers without the leading one
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  const uint32_t wide = exponent == 0x1F ? 0xFF : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

// Elements of a file, which are aligned to nothing.
template <class T>
T element(std::span<const std::byte> bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

using ReadElement = float (*)(std::span<const std::byte>, int64_t);

// nullptr: not a type that weights have.
ReadElement reader_of(std::string_view dtype) {
  using Bytes = std::span<const std::byte>;
  if (dtype == "F32") return [](Bytes b, int64_t i) { return element<float>(b, i); };
  if (dtype == "F16") return [](Bytes b, int64_t i) { return from_f16(element<uint16_t>(b, i)); };
  if (dtype == "BF16") return [](Bytes b, int64_t i) { return to_float(element<bf16>(b, i)); };
  if (dtype == "F64")
    return [](Bytes b, int64_t i) { return static_cast<float>(element<double>(b, i)); };
  return nullptr;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

// Of an index: which file each tensor is in.
std::map<std::string, std::string> read_index(const std::string& path) {
  const Json root = read_json("import", path, kLargestIndex);
  const Json& map = member(root, "weight_map");
  if (!map.is_object())
    fail("import: {}: weight_map is {}; an object of tensor and file is accepted", path,
         map.is_null() ? "missing" : shown(map));
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map.items()) {
    // A file's name, never a path: nothing outside the folder is read.
    const std::string to = file.is_string() ? file.get<std::string>() : "";
    const bool plain = !to.empty() && to != "." && to != ".." &&
                       to.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
    if (!plain)
      fail("import: {}: \"{}\" is in {}; the name of a file beside it is accepted", path,
           brief(name), shown(file));
    files.emplace(name, to);
  }
  if (files.empty()) fail("import: {} names no tensor", path);
  return files;
}

}  // namespace

HuggingFaceWeights HuggingFaceWeights::open(const std::string& folder,
                                            const HuggingFaceFamily& family) {
  HuggingFaceWeights out(family);
  out.folder_ = folder;
  const std::string whole = fmt::format("{}/{}", folder, kWhole);
  const std::string index = fmt::format("{}/{}", folder, kIndex);
  if (fs::exists(whole)) {
    out.add_file(whole);
  } else if (fs::exists(index)) {
    const std::map<std::string, std::string> where = read_index(index);
    std::map<std::string, size_t> numbers;
    for (const auto& [name, file] : where) numbers.emplace(file, 0);
    for (auto& [file, number] : numbers) {
      const std::string path = fmt::format("{}/{}", folder, file);
      if (!fs::exists(path)) fail("import: {} names {}, which is not there", index, brief(file));
      number = out.files_.size();
      out.add_file(path);
    }
    for (const auto& [name, file] : where)
      if (!out.files_[numbers.at(file)].has(name))
        fail("import: {}: \"{}\" is not in {}", index, brief(name), brief(file));
  } else {
    fail(
        "import: {} has neither {} nor {}; weights in other formats have to be saved as "
        "safetensors first (save_pretrained does)",
        folder, kWhole, kIndex);
  }
  out.untie();
  return out;
}

void HuggingFaceWeights::add_file(const std::string& path) {
  files_.push_back(SafetensorsFile::open(path));
  for (const auto& [name, entry] : files_.back().header().tensors) {
    const std::string full = full_name(family_, name);
    if (full.empty()) continue;
    const auto [known, is_new] = places_.emplace(full, Place{files_.size() - 1, name});
    if (!is_new)
      fail("import: {}: \"{}\" and \"{}\" are the same tensor, {}", folder_,
           brief(known->second.name), brief(name), brief(full));
  }
}

const HuggingFaceWeights::Place& HuggingFaceWeights::place(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) fail("import: {} has no tensor \"{}\"", folder_, name);
  return found->second;
}

const SafetensorsEntry& HuggingFaceWeights::entry(const Place& place) const {
  return files_[place.file].header().tensors.at(place.name);
}

std::span<const std::byte> HuggingFaceWeights::bytes(const Place& place) const {
  return files_[place.file].bytes(place.name);
}

void HuggingFaceWeights::untie() {
  for (const auto& [from, to] : family_.tied) {
    const auto copy = places_.find(std::string(from));
    if (copy == places_.end()) continue;
    const auto original = places_.find(std::string(to));
    if (original == places_.end()) {
      places_.emplace(to, copy->second);
    } else {
      const auto a = bytes(copy->second), b = bytes(original->second);
      if (entry(copy->second).dtype != entry(original->second).dtype || !std::ranges::equal(a, b))
        fail("import: {}: \"{}\" and \"{}\" differ; in strobe's model they are one tensor", folder_,
             from, to);
    }
    places_.erase(std::string(from));
  }
}

std::vector<std::string> HuggingFaceWeights::names() const {
  std::vector<std::string> out;
  for (const auto& [name, place] : places_) out.push_back(name);
  return out;
}

std::vector<int64_t> HuggingFaceWeights::shape(const std::string& name) const {
  if (!places_.contains(name)) return {};
  return entry(place(name)).shape;
}

bool HuggingFaceWeights::fits(const std::string& name, int64_t rows, int64_t columns) const {
  const std::vector<std::string> parts = parts_of(family_, name);
  const int64_t width = columns / static_cast<int64_t>(parts.size());
  return std::ranges::all_of(parts, [&](const std::string& part) {
    std::vector<int64_t> expected = rows == 0 ? std::vector{width} : std::vector{rows, width};
    if (is_transposed(family_, part, expected.size())) std::swap(expected[0], expected[1]);
    return shape(part) == expected;
  });
}

std::vector<float> HuggingFaceWeights::read(const std::string& name, int64_t rows, int64_t columns,
                                            std::vector<std::string>& used) const {
  const std::vector<std::string> parts = parts_of(family_, name);
  const auto count = static_cast<int64_t>(parts.size());
  const bool vector = rows == 0;
  const int64_t lines = vector ? 1 : rows, width = columns / count;
  std::vector<float> out(static_cast<size_t>(lines * columns));
  for (int64_t part = 0; part < count; ++part) {
    const std::string& source = parts[static_cast<size_t>(part)];
    const Place& at = place(source);
    const SafetensorsEntry& e = entry(at);
    const ReadElement value = reader_of(e.dtype);
    if (!value)
      fail("import: {}: \"{}\" is {}; F32, F16, BF16 and F64 are accepted", files_[at.file].path(),
           brief(at.name), e.dtype);
    const bool transposed = is_transposed(family_, source, vector ? 1 : 2);
    std::vector<int64_t> expected = vector ? std::vector{width} : std::vector{rows, width};
    if (transposed) std::swap(expected[0], expected[1]);
    if (e.shape != expected)
      fail("import: {}: \"{}\" is {}; by config.json it is {}", files_[at.file].path(),
           brief(at.name), shape_text(e.shape), shape_text(expected));
    const std::span<const std::byte> data = bytes(at);
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t j = 0; j < width; ++j)
        out[static_cast<size_t>(i * columns + part * width + j)] =
            value(data, transposed ? j * lines + i : i * width + j);
    used.push_back(source);
  }
  return out;
}

namespace {

// A tensor of Hugging Face's, as a part of one of strobe's.
struct Piece {
  Tensor view;  // in strobe's orientation, rows of it side by side with others'
  bool transposed;
  Tensor file_shape() const {
    Tensor out = transposed ? view.transposed() : view;
    int64_t stride = 1;
    for (int i = out.rank - 1; i >= 0; --i) out.strides[i] = stride, stride *= out.shape[i];
    return out;
  }
};

void write_piece(FileWriter& writer, const Piece& piece) {
  const Tensor source = piece.transposed ? piece.view.transposed() : piece.view;
  if (source.contiguous()) return writer.write(source.data, static_cast<size_t>(source.bytes()));
  const int64_t columns = source.dim(source.rank - 1);
  const int64_t rows = source.rank == 1 ? 1 : source.dim(0);
  std::vector<float> line(static_cast<size_t>(columns));
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = source.as<float>() + (source.rank == 1 ? 0 : i * source.strides[0]);
    for (int64_t j = 0; j < columns; ++j)
      line[static_cast<size_t>(j)] = from[j * source.strides[source.rank - 1]];
    writer.write(line.data(), line.size() * sizeof(float));
  }
}

void write_file_of(const std::string& path, const std::map<std::string, Piece>& pieces) {
  std::map<std::string, Tensor> shapes;
  for (const auto& [name, piece] : pieces) shapes.emplace(name, piece.file_shape());
  std::map<std::string, int64_t> offsets;
  const std::string header = safetensors_header(shapes, {{"format", "pt"}}, offsets);
  std::vector<std::pair<int64_t, std::string>> order;
  order.reserve(offsets.size());
  for (const auto& [name, offset] : offsets) order.emplace_back(offset, name);
  // Tensors without elements share an offset with the next one; their order does not matter.
  std::sort(order.begin(), order.end());
  FileWriter writer("export", path);
  writer.write(header.data(), header.size());
  for (const auto& [offset, name] : order) write_piece(writer, pieces.at(name));
  writer.commit();
}

}  // namespace

void write_huggingface_weights(const std::string& folder, const HuggingFaceFamily& family,
                               const std::map<std::string, Tensor>& params, int64_t largest_shard,
                               bool prefixed) {
  std::map<std::string, Piece> pieces;
  for (const auto& [name, tensor] : params) {
    check(tensor.dtype == DType::f32 && tensor.contiguous() && tensor.rank >= 1 && tensor.rank <= 2,
          "write_huggingface_weights: parameters are f32 vectors and matrices");
    const std::vector<std::string> parts = parts_of(family, name);
    const int last = tensor.rank - 1;
    const int64_t width = tensor.dim(last) / static_cast<int64_t>(parts.size());
    for (size_t i = 0; i < parts.size(); ++i)
      pieces.emplace(prefixed ? parts[i] : parts[i].substr(family.prefix.size()),
                     Piece{tensor.narrow(last, static_cast<int64_t>(i) * width, width),
                           is_transposed(family, parts[i], static_cast<size_t>(tensor.rank))});
  }
  // Shards take tensors by name as long as they fit; one that is larger has its own.
  std::vector<std::map<std::string, Piece>> shards(1);
  int64_t bytes = 0, total = 0;
  for (const auto& [name, piece] : pieces) {
    const int64_t size = piece.view.bytes();
    if (largest_shard > 0 && bytes > 0 && bytes + size > largest_shard) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().emplace(name, piece);
    bytes += size, total += size;
  }
  if (shards.size() == 1) return write_file_of(folder + "/" + kWhole, shards[0]);
  std::string map;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_file_of(fmt::format("{}/{}", folder, file), shards[i]);
    for (const auto& [name, piece] : shards[i])
      map +=
          fmt::format("{}\n    {}: {}", map.empty() ? "" : ",", json_quote(name), json_quote(file));
  }
  write_file("export", folder + "/" + kIndex,
             fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{{}\n  "
                         "}}\n}}\n",
                         total, map));
}

}  // namespace strobe
