// Tokenizers against tiktoken and Hugging Face's tokenizers: tests/data/tokenizer_* are made by
// tools/make_tokenizer_fixtures.py.
#include "strobe/data/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/pretokenize.h"
#include "strobe/data/unicode.h"
#include "tests/reference/tiny_dataset.h"
#include "tests/reference/token_ids.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

using reference::encode;
using reference::hash_ids;
using reference::message_of;
using reference::repeat;

const std::string data = STROBE_SOURCE_DIR "/tests/data/";
const std::string gpt2_folder = STROBE_SOURCE_DIR "/../shared/data/gpt2-bpe";

std::string read(const std::string& file) { return read_file("test", file, int64_t{1} << 30); }

const Json& cases() {
  static const Json json = Json::parse(read(data + "tokenizer_cases.json"));
  return json;
}

Tokenizer train(const std::vector<std::string>& documents, int64_t vocab) {
  size_t i = 0;
  return Tokenizer::train(
      [&](std::string& text) {
        if (i == documents.size()) return false;
        text = documents[i++];
        return true;
      },
      vocab);
}

// A code point alone, doubled, and next to letters, digits, punctuation and spaces.
std::string contexts(char32_t code_point) {
  std::string c;
  append_utf8(c, code_point);
  return fmt::format("{0} {0}{0} a{0}b 1{0}2 !{0}? '{0}s  {0}\n{0}\n\n {0}'s {0} ", c);
}

void expect_outcomes(const Tokenizer& tokenizer, const Json& expected) {
  ASSERT_GT(expected["texts"].size(), 200u);
  for (const Json& row : expected["texts"]) {
    const std::string text = row[0];
    const std::vector<int32_t> ids = encode(tokenizer, text);
    EXPECT_EQ(ids, row[1].get<std::vector<int32_t>>()) << row[0];
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  ASSERT_EQ(expected["runs"].size(), 80u);
  for (const Json& row : expected["runs"]) {
    const std::vector<int32_t> ids = encode(tokenizer, "x" + repeat(row[0], row[1]) + "y");
    EXPECT_EQ(ids.size(), row[2].get<size_t>()) << row;
    EXPECT_EQ(hash_ids(ids), row[3]) << row;
  }
  const Json& blocks = expected["code_points"];
  const uint32_t block = 4096;
  ASSERT_EQ(blocks.size(), 0x110000 / block);
  for (uint32_t i = 0; i < blocks.size(); ++i) {
    std::vector<int32_t> ids;
    for (char32_t c = i * block; c < (i + 1) * block; ++c)
      if (c < 0xD800 || c >= 0xE000) tokenizer.encode(contexts(c), ids);
    EXPECT_EQ(hash_ids(ids), blocks[i]) << fmt::format("from U+{:04X} on", i * block);
  }
}

TEST(Tokenizer, EqualsHuggingFace) {
  expect_outcomes(Tokenizer::load(data + "tokenizer_hf.json"), cases()["small"]);
}

TEST(Tokenizer, EqualsTiktokenOnGpt2) {
  if (!fs::exists(gpt2_folder))
    GTEST_SKIP() << "SKIPPED: GPT-2's vocabulary is not at " << gpt2_folder;
  const Tokenizer tokenizer = Tokenizer::load("gpt2:" + gpt2_folder);
  EXPECT_EQ(tokenizer.vocab_size(), 50257);
  EXPECT_EQ(tokenizer.end_of_text(), 50256);
  expect_outcomes(tokenizer, cases()["gpt2"]);
}

TEST(Tokenizer, LearnsWhatHuggingFaceLearns) {
  const Tokenizer reference = Tokenizer::load(data + "tokenizer_hf.json");
  const Tokenizer trained = train({read(data + "tokenizer_text.txt")}, 600);
  ASSERT_EQ(trained.vocab_size(), reference.vocab_size());
  EXPECT_EQ(trained.end_of_text(), 599);
  for (int32_t id = 0; id < 600; ++id)
    EXPECT_EQ(trained.token_bytes(id), reference.token_bytes(id)) << "id " << id;
  EXPECT_EQ(trained.hash(), reference.hash());  // the merges too
}

TEST(Tokenizer, LearnsTheSameFromDocumentsInAnyOrder) {
  const uint64_t hash = train({"ab ab abc", "the then them", "bc bc bcd"}, 262).hash();
  EXPECT_EQ(train({"bc bc bcd", "ab ab abc", "the then them"}, 262).hash(), hash);
  EXPECT_NE(train({"ab ab abc", "the then them", "bc bc bcd"}, 261).hash(), hash);
}

TEST(Tokenizer, SavesWhatItLoads) {
  const std::string file = testing::TempDir() + "saved_tokenizer.json";
  const Tokenizer first = Tokenizer::load(data + "tokenizer_hf.json");
  first.save(file);
  const Tokenizer second = Tokenizer::load(file);
  EXPECT_EQ(second.hash(), first.hash());
  EXPECT_EQ(second.end_of_text(), first.end_of_text());
  EXPECT_THROW(first.save(testing::TempDir() + "no/such/folder/tokenizer.json"), Error);
}

TEST(Tokenizer, ReadsIllFormedTextAsPythonDoes) {
  const Tokenizer tokenizer = Tokenizer::load(data + "tokenizer_hf.json");
  ASSERT_GT(cases()["ill_formed"].size(), 50u);
  for (const Json& row : cases()["ill_formed"]) {
    std::string text;
    const std::string hex = row[0], repaired = row[1];
    for (size_t i = 0; i < hex.size(); i += 2)
      text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    std::vector<int32_t> ids;
    EXPECT_EQ(tokenizer.encode(text, ids), row[2].get<int64_t>()) << row;
    EXPECT_EQ(tokenizer.decode(ids), repaired) << row;
    EXPECT_EQ(ids, encode(tokenizer, repaired)) << row;
  }
}

TEST(Tokenizer, TreatsSpecialTokensInTextAsText) {
  const Tokenizer tokenizer = Tokenizer::load(data + "tokenizer_hf.json");
  for (const int32_t id : encode(tokenizer, "a<|endoftext|>b")) EXPECT_NE(id, 599);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{599}), "<|endoftext|>");
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = Tokenizer::load(data + "tokenizer_hf.json");
  for (const int32_t id : {-1, 600, std::numeric_limits<int32_t>::max()})
    EXPECT_THROW(tokenizer.decode(std::vector<int32_t>{id}), Error) << id;
}

// A million equal characters are one piece, whose merges must not be searched one after the other
// from its beginning: that takes minutes, n log n well under a second.
TEST(Tokenizer, EncodesLongRunsInNearLinearTime) {
  const Tokenizer tokenizer = Tokenizer::load(data + "tokenizer_hf.json");
  for (const char* unit : {"a", " ", "^", "=", "\n", "日"}) {
    const std::string text = repeat(unit, 1000000);
    const auto start = std::chrono::steady_clock::now();
    const std::vector<int32_t> ids = encode(tokenizer, text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 10) << unit;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Tokenizer, IsSafeToShareBetweenThreads) {
  const Tokenizer tokenizer = Tokenizer::load(data + "tokenizer_hf.json");
  const std::string text = read(data + "tokenizer_text.txt");
  const std::vector<int32_t> expected = encode(tokenizer, text);
  std::vector<std::vector<int32_t>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        ids.clear();
        tokenizer.encode(text, ids);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& ids : found) EXPECT_EQ(ids, expected);
}

TEST(Pretokenize, CutsAsThePatternSays) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> rows = {
      {"a  b", {"a", " ", " b"}},
      {"x\n\n y", {"x", "\n\n", " y"}},
      {"don't DON'T", {"don", "'t", " DON", "'", "T"}},
      {"  ", {"  "}},
      {"a\t\tb", {"a", "\t", "\t", "b"}},
      {" 's", {" '", "s"}},
      {"we'll've", {"we", "'ll", "'ve"}},
  };
  for (const auto& [text, pieces] : rows) {
    std::vector<std::string> found;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = gpt2_piece_end(text, begin);
      found.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    EXPECT_EQ(found, pieces) << text;
  }
}

TEST(Unicode, BeyondTheLastCodePointIsNoClass) {
  EXPECT_EQ(char_class(0x110000), CharClass::other);
  EXPECT_EQ(char_class(0xFFFFFFFF), CharClass::other);
  EXPECT_EQ(char_class(U'\u3000'), CharClass::space);
  EXPECT_EQ(char_class(0x323AF), CharClass::letter);  // the last one of CJK Extension H
}

TEST(TokenizerTrain, RefusesWhatItCannotLearn) {
  EXPECT_THROW(train({"some text"}, 256), Error);
  EXPECT_THROW(train({"some text"}, -1), Error);
  EXPECT_THROW(train({"some text"}, int64_t{1} << 40), Error);
  EXPECT_THROW(train({}, 300), Error);
  EXPECT_THROW(train({"ab"}, 300), Error);
  EXPECT_EQ(train({}, 257).vocab_size(), 257);
}

// Files that are not what they should be: a change to a good one, and what the message says.
struct BadFile {
  std::string name;
  std::function<void(Json&)> change;
  std::string message;
};

Json good() { return Json::parse(read(data + "tokenizer_hf.json")); }

// A file of the running test's own: tests run beside each other.
std::string test_file(const std::string& contents) {
  static const reference::TemporaryFolder folder;
  const std::string file = folder.file("tokenizer.json");
  std::ofstream(file, std::ios::binary) << contents;
  return file;
}

std::string message_for_text(const std::string& text) {
  const std::string file = test_file(text);
  return message_of(file);
}

TEST(TokenizerJson, RefusesBadFiles) {
  const std::vector<BadFile> table = {
      {"other version", [](Json& j) { j["version"] = "2.0"; }, "version is \"2.0\""},
      {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }, "model.type"},
      {"no model", [](Json& j) { j.erase("model"); }, "model.type is null"},
      {"model of wrong type", [](Json& j) { j["model"] = 3; }, "model.type is null"},
      {"normalizer",
       [](Json& j) {
         j["normalizer"] = {{"type", "NFC"}};
       },
       "normalizer"},
      {"no split", [](Json& j) { j["pre_tokenizer"] = nullptr; }, "pre_tokenizer is null"},
      {"own pattern",
       [](Json& j) {
         j["pre_tokenizer"] = {
             {"type", "Sequence"},
             {"pretokenizers",
              {{{"type", "Split"},
                {"pattern", {{"Regex", "(a+)+$"}}},
                {"behavior", "Isolated"},
                {"invert", false}},
               {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
       },
       "pre_tokenizer"},
      {"prefix space", [](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; },
       "pre_tokenizer"},
      {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "model.dropout is 0.1"},
      {"suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
      {"byte fallback", [](Json& j) { j["model"]["byte_fallback"] = true; }, "byte_fallback"},
      {"ignore merges", [](Json& j) { j["model"]["ignore_merges"] = true; }, "ignore_merges"},
      {"vocabulary is a list", [](Json& j) { j["model"]["vocab"] = Json::array(); },
       "of type array"},
      {"id is a string", [](Json& j) { j["model"]["vocab"]["a"] = "5"; }, "of type string"},
      {"id is a fraction", [](Json& j) { j["model"]["vocab"]["a"] = 64.5; }, "of type number"},
      {"id negative", [](Json& j) { j["model"]["vocab"]["a"] = -1; }, "has id -1"},
      {"id huge", [](Json& j) { j["model"]["vocab"]["a"] = int64_t{1} << 60; }, "without gaps"},
      {"id beyond int64", [](Json& j) { j["model"]["vocab"]["a"] = ~uint64_t{0}; }, "has id"},
      {"id twice", [](Json& j) { j["model"]["vocab"]["a"] = 7; }, "id 7 stands for"},
      {"byte missing", [](Json& j) { j["model"]["vocab"].erase("\u0100"); }, "without gaps"},
      {"byte renamed",
       [](Json& j) {
         const Json id = j["model"]["vocab"]["\u0100"];
         j["model"]["vocab"].erase("\u0100");
         j["model"]["vocab"]["never merged"] = id;
       },
       "stands for no byte"},
      {"byte replaced",
       [](Json& j) {
         const Json id = j["model"]["vocab"]["\u0100"];
         j["model"]["vocab"].erase("\u0100");
         j["model"]["vocab"]["qqqq"] = id;
       },
       "no token for byte 0x00"},
      {"empty token", [](Json& j) { j["model"]["vocab"][""] = 600; }, "is empty"},
      {"merges missing", [](Json& j) { j["model"].erase("merges"); }, "model.merges is null"},
      {"merge of three",
       [](Json& j) {
         j["model"]["merges"][0] = {"a", "b", "c"};
       },
       "merge"},
      {"merge of numbers",
       [](Json& j) {
         j["model"]["merges"][0] = {1, 2};
       },
       "merge"},
      {"merge without space", [](Json& j) { j["model"]["merges"][0] = "ab"; }, "merge 0 is \"ab\""},
      {"merge with two spaces", [](Json& j) { j["model"]["merges"][0] = "a b c"; }, "merge 0"},
      {"merge empty", [](Json& j) { j["model"]["merges"][0] = ""; }, "merge 0"},
      {"merge of unknown",
       [](Json& j) {
         j["model"]["merges"][0] = {"a", "zzz"};
       },
       "\"zzz\""},
      {"merge to unknown",
       [](Json& j) {
         j["model"]["merges"][0] = {"q", "q"};
       },
       "merge 0 makes"},
      {"merge twice", [](Json& j) { j["model"]["merges"].push_back(j["model"]["merges"][3]); },
       "are the same"},
      {"merge of special",
       [](Json& j) {
         j["model"]["merges"][0] = {"a", "<|endoftext|>"};
       },
       "not in the vocabulary"},
      {"added is an object",
       [](Json& j) {
         j["added_tokens"] = {{"a", 1}};
       },
       "added_tokens"},
      {"added without id", [](Json& j) { j["added_tokens"][0].erase("id"); }, "added token"},
      {"added at a taken id", [](Json& j) { j["added_tokens"][0]["id"] = 5; }, "id 5 stands for"},
      {"added beyond", [](Json& j) { j["added_tokens"][0]["id"] = 1000000000; }, "without gaps"},
      {"added twice", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }, "twice"},
  };
  for (const BadFile& row : table) {
    Json json = good();
    row.change(json);
    const std::string message = message_for_text(json.dump());
    EXPECT_NE(message.find(row.message), std::string::npos) << row.name << ": " << message;
    EXPECT_TRUE(message.starts_with("tokenizer: ")) << row.name << ": " << message;
    EXPECT_LT(message.size(), 400u) << row.name;
  }
}

TEST(TokenizerJson, RefusesWhatIsNotItsJson) {
  const std::string text = read(data + "tokenizer_hf.json");
  std::string twice = text;
  twice.replace(twice.find("\"a\":"), 4, "\"b\":");
  std::string not_utf8 = text;
  not_utf8[text.find("\"a\":") + 1] = '\xff';
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "is not JSON"},
      {"# a text\n", "is not JSON"},
      {text.substr(0, text.size() / 2), "is not JSON"},
      {text + "x", "is not JSON"},
      {not_utf8, "is not JSON"},
      {twice, "\"b\" stands twice"},
      {"[]", "holds array"},
      {"{}", "version is null"},
      {std::string(100000, '['), "nested more than"},
      {repeat("{\"a\":", 100000), "nested more than"},
  };
  for (const auto& [contents, expected] : table) {
    const std::string message = message_for_text(contents);
    EXPECT_NE(message.find(expected), std::string::npos) << contents.substr(0, 40) << message;
  }
  EXPECT_NE(message_of("/no/such.json").find("no file /no/such.json"), std::string::npos);
  EXPECT_NE(message_of(STROBE_SOURCE_DIR).find("has no tokenizer.json"), std::string::npos);
}

// Cut short or with one bit turned over, a file is refused or still a whole tokenizer.
TEST(TokenizerJson, SurvivesDamage) {
  const std::string text = read(data + "tokenizer_hf.json");
  for (size_t i = 0; i < 400; ++i) {
    std::string damaged = text;
    const size_t at = i * 2654435761u % text.size();
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << i % 8));
    const std::string file = test_file(damaged);
    try {
      const Tokenizer tokenizer = Tokenizer::load(file);
      std::vector<int32_t> ids;
      tokenizer.encode("The river's 12 stones", ids);
      EXPECT_EQ(tokenizer.decode(ids), "The river's 12 stones");
    } catch (const Error&) {
    }
    EXPECT_NE(message_for_text(text.substr(0, at)), "accepted");
  }
}

TEST(TokenizerJson, AcceptsTheFormsInUse) {
  const uint64_t hash = Tokenizer::load(data + "tokenizer_hf.json").hash();
  const auto hash_after = [&](const std::function<void(Json&)>& change) {
    Json json = good();
    change(json);
    return Tokenizer::load(test_file(json.dump())).hash();
  };
  EXPECT_EQ(hash_after([](Json& j) {
              for (Json& merge : j["model"]["merges"])
                merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
            }),
            hash);
  EXPECT_EQ(hash_after([](Json& j) { j["model"]["vocab"]["<|endoftext|>"] = 599; }), hash);
  EXPECT_EQ(hash_after([](Json& j) {
              j["pre_tokenizer"] = {
                  {"type", "Sequence"},
                  {"pretokenizers",
                   {{{"type", "Split"},
                     {"pattern", {{"Regex", std::string(gpt2_pattern)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}},
                    {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
            }),
            hash);
  EXPECT_NE(
      hash_after([](Json& j) { std::swap(j["model"]["merges"][0], j["model"]["merges"][1]); }),
      hash);
}

TEST(Gpt2Files, AreReadUnderBothNames) {
  const std::string folder = testing::TempDir() + "gpt2_files/";
  fs::remove_all(folder);
  fs::create_directories(folder);
  EXPECT_NE(message_of("gpt2:" + folder).find("cannot read"), std::string::npos);
  const Json json = good();
  Json vocabulary = json["model"]["vocab"];
  vocabulary["<|endoftext|>"] = 599;
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : json["model"]["merges"])
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  const uint64_t hash = Tokenizer::load(data + "tokenizer_hf.json").hash();

  write_file("test", folder + "vocab.json", vocabulary.dump());
  write_file("test", folder + "merges.txt", merges);
  EXPECT_EQ(Tokenizer::load("gpt2:" + folder).hash(), hash);
  write_file("test", folder + "encoder.json", vocabulary.dump());
  write_file("test", folder + "vocab.bpe", merges);
  EXPECT_EQ(Tokenizer::load("gpt2:" + folder).hash(), hash);

  write_file("test", folder + "vocab.bpe", merges + "a\n");
  EXPECT_NE(message_of("gpt2:" + folder).find("is \"a\"; two tokens"), std::string::npos);
  write_file("test", folder + "encoder.json", "[1, 2]");
  EXPECT_NE(message_of("gpt2:" + folder).find("of type array"), std::string::npos);
}

}  // namespace
}  // namespace strobe
