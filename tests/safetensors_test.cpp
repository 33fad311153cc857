// The strict reader of safetensors: what it accepts, and a table of what it must refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>

#include "strobe/core/error.h"
#include "strobe/io/safetensors.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "test");
}

const std::string kEightBytes(8, 'x');

TEST(Safetensors, ReadsWhatTheReferenceWrites) {
  const SafetensorsHeader header = parse(file_of(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   )",
      kEightBytes));
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.tensors.at("a").shape, std::vector<int64_t>{2});
  EXPECT_TRUE(parse(file_of("{}", "")).tensors.empty());
  // Rank 0 and empty tensors are legal, and so is leading white space.
  EXPECT_EQ(
      parse(
          file_of(
              R"( {"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[0,5],"data_offsets":[4,4]}})",
              "abcd"))
          .tensors.size(),
      2u);
}

TEST(Safetensors, WritesWhatItReads) {
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  std::vector<bf16> b = {{1}, {2}};
  const std::map<std::string, Tensor> tensors = {
      {"b", Tensor(b.data(), DType::bf16, {2})},
      {"a \"quoted\"", Tensor(a.data(), DType::f32, {2, 3})}};
  std::map<std::string, int64_t> offsets;
  std::string file = safetensors_header(tensors, {{"format", "pt"}}, offsets);
  EXPECT_EQ(file.size() % 8, 0u);
  file.resize(file.size() + 28);
  for (const auto& [name, tensor] : tensors)
    std::memcpy(file.data() + offsets.at(name), tensor.data, static_cast<size_t>(tensor.bytes()));
  const SafetensorsHeader header = parse(file);
  const SafetensorsEntry& entry = header.tensors.at("a \"quoted\"");
  EXPECT_EQ(entry.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file.data() + header.data_offset + entry.begin, a.data(), 24), 0);
  EXPECT_EQ(header.tensors.at("b").begin, 24) << "larger elements come first";
}

struct Case {
  std::string verdict, file, name;
};

// What the format's own package says of a file (tools/make_safetensors_cases.py).
std::vector<Case> reference_cases() {
  std::ifstream stream(STROBE_SOURCE_DIR "/tests/data/safetensors_cases.txt");
  std::vector<Case> out;
  for (Case c; stream >> c.verdict >> c.file && std::getline(stream >> std::ws, c.name);) {
    std::string bytes;
    for (size_t i = 0; c.file != "-" && i < c.file.size(); i += 2)
      bytes += static_cast<char>(std::stoi(c.file.substr(i, 2), nullptr, 16));
    out.push_back({c.verdict, bytes, c.name});
  }
  return out;
}

TEST(Safetensors, AgreesWithTheReferenceReader) {
  // The reference takes these although the format forbids them.
  const std::set<std::string> stricter = {"key unknown", "tensor twice", "tensor a list",
                                          "metadata null"};
  const std::vector<Case> cases = reference_cases();
  ASSERT_GT(cases.size(), 100u);
  for (const Case& c : cases) {
    const bool accept = c.verdict != "refused" && !stricter.contains(c.name);
    if (accept)
      EXPECT_NO_THROW(parse(c.file)) << c.name;
    else
      EXPECT_THROW(parse(c.file), Error) << c.name;
  }
}

TEST(Safetensors, WritesTheReferenceWritersBytes) {
  const std::vector<Case> cases = reference_cases();
  const auto reference = std::ranges::find(cases, "written", &Case::verdict);
  ASSERT_NE(reference, cases.end());
  std::vector<int32_t> b = {0, 1, 2};
  std::vector<float> a = {0, 1, 2, 3, 4, 5}, c = {7};
  std::vector<uint8_t> quoted = {0, 1, 2, 3, 4};
  const std::map<std::string, Tensor> tensors = {
      {"a", Tensor(a.data(), DType::f32, {2, 3})},
      {"b", Tensor(b.data(), DType::i32, {3})},
      {"c", Tensor(c.data(), DType::f32, {})},
      {"quoted \"name\" \u00e9", Tensor(quoted.data(), DType::u8, {5})}};
  std::map<std::string, int64_t> offsets;
  std::string file = safetensors_header(tensors, {{"format", "pt"}}, offsets);
  file.resize(reference->file.size());
  for (const auto& [name, tensor] : tensors)
    std::memcpy(file.data() + offsets.at(name), tensor.data, static_cast<size_t>(tensor.bytes()));
  EXPECT_EQ(file, reference->file);
}

TEST(Safetensors, RefusesWhatIsMalformed) {
  const auto tensor = [](const std::string& rest) { return "{\"a\":{" + rest + "}}"; };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::pair<const char*, std::string> table[] = {
      {"empty", ""},
      {"too short for a size", "1234567"},
      {"size beyond the file", std::string("\xff\0\0\0\0\0\0\0{}", 10)},
      {"hostile size", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)},
      {"not JSON", file_of("{a}", "")},
      {"not an object", file_of("[]", "")},
      {"truncated data", file_of(tensor(good), "xxxx")},
      {"trailing data", file_of(tensor(good), kEightBytes + "y")},
      {"hole",
       file_of(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[4,12])"), kEightBytes + "yyyy")},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           kEightBytes)},
      {"offsets reversed",
       file_of(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), kEightBytes)},
      {"shape against offsets",
       file_of(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), kEightBytes)},
      {"overflowing shape",
       file_of(tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"),
               kEightBytes)},
      {"negative shape",
       file_of(tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), kEightBytes)},
      {"fractional shape",
       file_of(tensor(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), kEightBytes)},
      {"huge offset",
       file_of(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615])"),
               kEightBytes)},
      {"unknown dtype",
       file_of(tensor(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])"), kEightBytes)},
      {"half a byte", file_of(tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), "x")},
      {"missing key", file_of(tensor(R"("dtype":"F32","shape":[2])"), kEightBytes)},
      {"extra key", file_of(tensor(good + R"(,"x":1)"), kEightBytes)},
      {"duplicate tensor", file_of("{\"a\":{" + good + "},\"a\":{" + good + "}}", kEightBytes)},
      {"duplicate key", file_of(tensor(good + R"(,"shape":[2])"), kEightBytes)},
      {"metadata not text", file_of(R"({"__metadata__":{"a":1}})", "")},
      {"deep", file_of(R"({"__metadata__":{"a":{"b":{"c":{"d":{}}}}}})", "")},
  };
  for (const auto& [what, file] : table) EXPECT_THROW(parse(file), Error) << what;
}

TEST(Safetensors, GivesViewsOnlyOfWhatItComputesWith) {
  const reference::TemporaryFolder folder;
  const auto open = [&](const std::string& tensor, const std::string& data) {
    std::ofstream(folder.file("f"), std::ios::binary) << file_of("{\"a\":{" + tensor + "}}", data);
    return SafetensorsFile::open(folder.file("f"));
  };
  // The header of the first is padded to a multiple of eight.
  const std::string f32 = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  ASSERT_EQ(f32.size() % 8, 6u);
  EXPECT_EQ(open(f32 + "  ", kEightBytes).tensor("a").dim(0), 2);
  const SafetensorsFile unaligned = open(f32 + " ", kEightBytes);
  EXPECT_THROW(unaligned.tensor("a"), Error);
  EXPECT_EQ(unaligned.bytes("a").size(), 8u);
  EXPECT_THROW(unaligned.bytes("b"), Error);
  EXPECT_THROW(open(R"("dtype":"F64","shape":[1],"data_offsets":[0,8])", kEightBytes).tensor("a"),
               Error);
  EXPECT_THROW(
      open(R"("dtype":"F32","shape":[1,1,1,1,2],"data_offsets":[0,8])", kEightBytes).tensor("a"),
      Error);
  EXPECT_THROW(open(R"("dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[0,0])", "")
                   .tensor("a"),
               Error);
}

TEST(Safetensors, EveryTruncationAndBitFlipIsRefusedOrHarmless) {
  const std::string whole = file_of(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}})",
      "abcdefghijkl");
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(parse(whole.substr(0, length)), Error) << length;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    try {
      for (const auto& [name, entry] : parse(flipped).tensors)
        EXPECT_LE(entry.end, 12) << "beyond the data after flipping bit " << bit;
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace strobe
