#include "strobe/io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "strobe/core/error.h"
#include "strobe/core/json_text.h"

namespace strobe {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kLargestHeader = 100'000'000;  // the reference reader's limit
constexpr int kDeepest = 4;                       // of the header's JSON

// Bits an element takes, by the format's names.
const std::map<std::string, int> kBits = {
    {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},
    {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},     {"I16", 16},
    {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
    {"I32", 32}, {"U32", 32},    {"F32", 32},    {"C64", 64},        {"F64", 64},
    {"I64", 64}, {"U64", 64},
};

// The types that strobe computes with, and where the format's own list has them.
struct Type {
  std::string_view name;
  DType dtype;
  int order;
};
constexpr Type kTypes[] = {{"U8", DType::u8, 4},
                           {"BF16", DType::bf16, 14},
                           {"I32", DType::i32, 15},
                           {"F32", DType::f32, 17}};

const Type& type_of(DType dtype) { return *std::ranges::find(kTypes, dtype, &Type::dtype); }

// Parses JSON, refusing keys that appear twice in one object and needless depth.
Json parse_strictly(std::string_view text, const std::string& name) {
  std::vector<std::set<std::string>> keys;
  std::string problem;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      if (depth >= kDeepest) problem = "nested too deeply";
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key &&
               !keys.back().insert(parsed.get<std::string>()).second) {
      problem = fmt::format("the key '{}' appears twice", parsed.get<std::string>());
    }
    return true;
  };
  // The library would skip a byte order mark, and take a NUL for the end.
  const size_t first = text.find_first_not_of(" \t\n\r");
  if (first == std::string_view::npos || text[first] != '{' || text.find('\0') != text.npos)
    fail("safetensors: {}: the header is not a JSON object", name);
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (json.is_discarded()) fail("safetensors: {}: the header is not JSON", name);
  if (!problem.empty()) fail("safetensors: {}: the header is malformed: {}", name, problem);
  return json;
}

// An integer without a sign that fits, or an error.
int64_t size_in(const Json& value, const std::string& what, const std::string& name) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX)
    fail("safetensors: {}: {} is not a size", name, what);
  return value.get<int64_t>();
}

SafetensorsEntry parse_entry(const std::string& key, const Json& json, const std::string& name) {
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets"))
    fail("safetensors: {}: '{}' must have dtype, shape and data_offsets and nothing else", name,
         key);
  SafetensorsEntry entry;
  if (!json["dtype"].is_string() || !kBits.contains(json["dtype"].get<std::string>()))
    fail("safetensors: {}: '{}' has an unknown dtype {}", name, key, json["dtype"].dump());
  entry.dtype = json["dtype"].get<std::string>();
  const Json& shape = json["shape"];
  const Json& offsets = json["data_offsets"];
  if (!shape.is_array()) fail("safetensors: {}: '{}' has no shape", name, key);
  if (!offsets.is_array() || offsets.size() != 2)
    fail("safetensors: {}: '{}' must have two data_offsets", name, key);
  int64_t bits = kBits.at(entry.dtype);
  for (const Json& d : shape) {
    entry.shape.push_back(size_in(d, fmt::format("a dimension of '{}'", key), name));
    if (__builtin_mul_overflow(bits, entry.shape.back(), &bits))
      fail("safetensors: {}: the shape of '{}' overflows", name, key);
  }
  entry.begin = size_in(offsets[0], fmt::format("an offset of '{}'", key), name);
  entry.end = size_in(offsets[1], fmt::format("an offset of '{}'", key), name);
  if (bits % 8 != 0 || entry.end < entry.begin || entry.end - entry.begin != bits / 8)
    fail("safetensors: {}: '{}' takes {} bits by its shape, {} bytes by its offsets", name, key,
         bits, entry.end - entry.begin);
  return entry;
}

void check_coverage(const SafetensorsHeader& header, int64_t data_bytes, const std::string& name) {
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (const auto& [key, entry] : header.tensors) spans.emplace_back(entry.begin, entry.end);
  std::sort(spans.begin(), spans.end());
  int64_t expected = 0;
  for (const auto& [begin, end] : spans) {
    if (begin != expected)
      fail("safetensors: {}: tensors leave a hole or overlap at byte {} of the data", name, begin);
    expected = end;
  }
  if (expected != data_bytes)
    fail("safetensors: {}: the header describes {} bytes of data, the file has {}{}", name,
         expected, data_bytes, data_bytes < expected ? ": it is cut off" : "");
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  uint64_t size = 0;
  if (file.size() < sizeof size)
    fail("safetensors: {}: {} bytes are too few for a header", name, file.size());
  std::memcpy(&size, file.data(), sizeof size);
  if (size > kLargestHeader)
    fail(
        "safetensors: {}: a header of {} bytes is beyond the format's limit of {}; is it a "
        "safetensors file?",
        name, size, kLargestHeader);
  if (size > file.size() - sizeof size)
    fail("safetensors: {}: the header should have {} bytes, but the file ends after {}", name, size,
         file.size() - sizeof size);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof size, size);
  SafetensorsHeader header;
  header.data_offset = static_cast<int64_t>(sizeof size + size);
  const Json json = parse_strictly(text, name);
  for (const auto& [key, value] : json.items()) {
    if (key != "__metadata__") {
      header.tensors.emplace(key, parse_entry(key, value, name));
      continue;
    }
    if (!value.is_object()) fail("safetensors: {}: __metadata__ is not an object", name);
    for (const auto& [k, v] : value.items()) {
      if (!v.is_string()) fail("safetensors: {}: metadata '{}' is not text", name, k);
      header.metadata.emplace(k, v.get<std::string>());
    }
  }
  check_coverage(header, static_cast<int64_t>(file.size()) - header.data_offset, name);
  return header;
}

SafetensorsFile::SafetensorsFile(std::string path, MappedFile file)
    : path_(std::move(path)), file_(std::move(file)) {
  header_ = parse_safetensors(file_.bytes(), path_);
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  return SafetensorsFile(path, MappedFile("safetensors", path));
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) fail("safetensors: {} has no tensor '{}'", path_, name);
  const auto [begin, end] = std::pair(found->second.begin, found->second.end);
  return file_.bytes().subspan(static_cast<size_t>(header_.data_offset + begin),
                               static_cast<size_t>(end - begin));
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) fail("safetensors: {} has no tensor '{}'", path_, name);
  const SafetensorsEntry& entry = found->second;
  const auto type = std::ranges::find(kTypes, entry.dtype, &Type::name);
  if (type == std::end(kTypes) || entry.shape.size() > Tensor::kMaxRank)
    fail(
        "safetensors: {}: '{}' is {} with {} dimensions; strobe reads F32, BF16, I32 and U8 of at "
        "most {}",
        path_, name, entry.dtype, entry.shape.size(), Tensor::kMaxRank);
  Tensor out;
  out.data = const_cast<std::byte*>(bytes(name).data());
  out.dtype = type->dtype;
  if (reinterpret_cast<uintptr_t>(out.data) % static_cast<uintptr_t>(size_of(out.dtype)) != 0)
    fail("safetensors: {}: '{}' is not aligned to its {}: the header was not padded", path_, name,
         entry.dtype);
  out.rank = static_cast<int>(entry.shape.size());
  int64_t stride = 1;
  for (int i = out.rank - 1; i >= 0; --i) {
    out.shape[i] = entry.shape[static_cast<size_t>(i)];
    out.strides[i] = stride;
    if (__builtin_mul_overflow(stride, out.shape[i], &stride))  // [0, 2^62, 4] is a legal shape
      fail("safetensors: {}: the shape of '{}' overflows", path_, name);
  }
  return out;
}

std::string safetensors_header(const std::map<std::string, Tensor>& tensors,
                               const std::map<std::string, std::string>& metadata,
                               std::map<std::string, int64_t>& offsets) {
  std::vector<std::pair<std::string, Tensor>> order(tensors.begin(), tensors.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return type_of(a.second.dtype).order > type_of(b.second.dtype).order;
  });
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      json +=
          fmt::format("{}{}:{}", json.back() == '{' ? "" : ",", json_quote(key), json_quote(value));
    json += "}";
  }
  int64_t offset = 0;
  for (const auto& [name, tensor] : order) {
    json += fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        json.back() == '{' ? "" : ",", json_quote(name), type_of(tensor.dtype).name,
                        fmt::join(tensor.shape.begin(), tensor.shape.begin() + tensor.rank, ","),
                        offset, offset + tensor.bytes());
    offsets[name] = offset, offset += tensor.bytes();
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t size = json.size();
  for (auto& [name, place] : offsets) place += static_cast<int64_t>(sizeof size + size);
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + json;
}

}  // namespace strobe
