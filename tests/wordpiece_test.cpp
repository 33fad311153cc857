// WordPiece and BERT's normaliser against Hugging Face's tokenizers: tests/data/wordpiece_* are
// made by tools/make_wordpiece_fixtures.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/bert_normalizer.h"
#include "strobe/data/tokenizer.h"
#include "strobe/data/unicode.h"
#include "tests/reference/tiny_dataset.h"
#include "tests/reference/token_ids.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

using reference::encode;
using reference::hash_ids;
using reference::IdHash;
using reference::message_of;
using reference::repeat;

const std::string data = STROBE_SOURCE_DIR "/tests/data/";
const std::string bert_folder = STROBE_SOURCE_DIR "/../shared/data/bert-vocab";

std::string read(const std::string& file) { return read_file("test", file, int64_t{1} << 30); }

const Json& cases() {
  static const Json json = Json::parse(read(data + "wordpiece_cases.json"));
  return json;
}

void add_words(const BertNormalizer& normalizer, std::string_view text, IdHash& hash) {
  Words words;
  normalizer.cut(text, words);
  size_t at = 0;
  for (const size_t end : words.ends) {
    while (at < end) {
      const CodePoint point = decode_utf8(words.text, at);
      hash.add(point.value);
      at += point.size;
    }
    hash.add(0x110000);
  }
}

// A code point alone, doubled, next to letters, digits, punctuation, spaces and combining marks.
std::string contexts(char32_t code_point) {
  std::string c;
  append_utf8(c, code_point);
  return fmt::format("{0} {0}{0} a{0}b 1{0}2 !{0}? '{0}s É{0}é {0}\u0301 \U0001d16d{0}\U0001d165 ",
                     c);
}

std::string short_contexts(char32_t code_point) {
  std::string c;
  append_utf8(c, code_point);
  return fmt::format("a{0}b {0}", c);
}

TEST(BertNormalizer, EqualsHuggingFaceOnEveryCodePoint) {
  bool first = true;
  for (const Json& variant : cases()["normalisation"]) {
    const Json& s = variant["settings"];
    const BertNormalizer normalizer(
        {s[0], s[1], s[2].is_null() ? std::nullopt : std::optional<bool>(s[2].get<bool>()), s[3]});
    const uint32_t block = 4096;
    const Json& blocks = variant["code_points"];
    ASSERT_EQ(blocks.size(), 0x110000 / block);
    for (uint32_t i = 0; i < blocks.size(); ++i) {
      IdHash hash;
      for (char32_t c = i * block; c < (i + 1) * block; ++c)
        if (c < 0xD800 || c >= 0xE000)
          add_words(normalizer, first ? contexts(c) : short_contexts(c), hash);
      EXPECT_EQ(hash.text(), blocks[i]) << fmt::format("{} from U+{:04X} on", s.dump(), i * block);
    }
    ASSERT_GT(variant["texts"].size(), 400u);
    for (const Json& row : variant["texts"]) {
      IdHash hash;
      add_words(normalizer, row[0].get<std::string>(), hash);
      EXPECT_EQ(hash.text(), row[1]) << s << " " << row[0];
    }
    first = false;
  }
}

void expect_outcomes(const Tokenizer& tokenizer, const Json& expected) {
  ASSERT_GT(expected["texts"].size(), 150u);
  for (const Json& row : expected["texts"]) {
    const std::vector<int32_t> ids = encode(tokenizer, row[0].get<std::string>());
    EXPECT_EQ(ids, row[1].get<std::vector<int32_t>>()) << row[0];
    EXPECT_EQ(tokenizer.decode(ids), row[2]) << row[0];
  }
  ASSERT_EQ(expected["runs"].size(), 60u);
  for (const Json& row : expected["runs"]) {
    const std::vector<int32_t> ids = encode(tokenizer, "x" + repeat(row[0], row[1]) + "y");
    EXPECT_EQ(ids.size(), row[2].get<size_t>()) << row;
    EXPECT_EQ(hash_ids(ids), row[3]) << row;
  }
  ASSERT_GT(expected["marked"].size(), 3u);
  for (const Json& row : expected["marked"]) {
    std::vector<int32_t> ids;
    tokenizer.encode_marked(row[0].get<std::string>(), ids);
    EXPECT_EQ(ids, row[1].get<std::vector<int32_t>>()) << row[0];
  }
}

TEST(WordPiece, EqualsHuggingFace) {
  expect_outcomes(Tokenizer::load(data + "wordpiece_hf.json"), cases()["uncased"]);
  expect_outcomes(Tokenizer::load(data + "wordpiece_cased.json"), cases()["cased"]);
}

TEST(WordPiece, CutsWordsAsTheWordsOfTheTextAreCut) {
  const Tokenizer tokenizer = Tokenizer::load(data + "wordpiece_hf.json");
  std::vector<int32_t> parts;
  for (const char* part : {"the river", " runs\n", "over"}) tokenizer.encode(part, parts);
  EXPECT_EQ(encode(tokenizer, "the river runs\nover"), parts);
  EXPECT_EQ(tokenizer.decode(parts), "the river runs over");
  std::string streamed;
  for (size_t i = 0; i < parts.size(); ++i)
    streamed += tokenizer.decode(std::span(parts).subspan(i, 1), i > 0);
  EXPECT_EQ(streamed, "the river runs over");
}

TEST(WordPiece, KnowsItsSpecialTokens) {
  const Tokenizer tokenizer = Tokenizer::load(data + "wordpiece_hf.json");
  EXPECT_EQ(tokenizer.special("[PAD]"), 0);
  EXPECT_EQ(tokenizer.special("[MASK]"), 4);
  EXPECT_EQ(tokenizer.special("the"), -1);
  EXPECT_EQ(tokenizer.end_of_text(), tokenizer.special("[SEP]"));
  for (const int32_t id : encode(tokenizer, "[MASK]")) EXPECT_NE(id, 4);
}

TEST(WordPiece, WritesWhatItReads) {
  const reference::TemporaryFolder folder;
  for (const char* name : {"wordpiece_hf.json", "wordpiece_cased.json"}) {
    const Tokenizer first = Tokenizer::load(data + name);
    first.save_folder(folder.path(), 512);
    EXPECT_EQ(Tokenizer::load(folder.path()).hash(), first.hash()) << "tokenizer.json";
    const Tokenizer list = Tokenizer::load("bert:" + folder.path());
    EXPECT_EQ(list.hash(), first.hash()) << "vocab.txt and tokenizer_config.json";
    EXPECT_EQ(Tokenizer::load(folder.file("vocab.txt")).hash(), first.hash());
    EXPECT_EQ(Json::parse(read(folder.file("tokenizer_config.json")))["model_max_length"], 512);
    // Without the configuration capitals in the vocabulary tell.
    fs::remove(folder.file("tokenizer_config.json"));
    EXPECT_EQ(Tokenizer::load(folder.file("vocab.txt")).hash(), first.hash()) << name;
  }
}

TEST(WordPiece, WritesNoListOfTokensThatAListCannotHold) {
  const reference::TemporaryFolder folder;
  Json json = Json::parse(read(data + "wordpiece_hf.json"));
  json["model"]["vocab"]["a\nb"] = json["model"]["vocab"].size();
  std::ofstream(folder.file("t.json")) << json.dump();
  const Tokenizer tokenizer = Tokenizer::load(folder.file("t.json"));
  tokenizer.save_folder(folder.path(), 512);
  EXPECT_FALSE(fs::exists(folder.file("vocab.txt")));
  EXPECT_EQ(Tokenizer::load(folder.path()).hash(), tokenizer.hash());
}

TEST(WordPiece, TakesTimeLinearInHostileText) {
  const Tokenizer tokenizer = Tokenizer::load(data + "wordpiece_hf.json");
  for (const char* unit : {"a", " ", "^", "日", "\u0301", "\U0001d16d\U0001d165", "각", "[MASK]"}) {
    const std::string text = repeat(unit, 1000000);
    const auto start = std::chrono::steady_clock::now();
    std::vector<int32_t> ids = encode(tokenizer, text);
    tokenizer.encode_marked(text, ids);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 20) << unit;
  }
}

TEST(WordPiece, ReadsIllFormedTextAsReplacementCharacters) {
  const Tokenizer tokenizer = Tokenizer::load(data + "wordpiece_hf.json");
  std::vector<int32_t> ids;
  EXPECT_EQ(tokenizer.encode("the\xff river\xc3", ids), 2);
  EXPECT_EQ(ids, encode(tokenizer, "the river"));  // U+FFFD is left out
}

Tokenizer train(const std::string& text, int64_t vocab, const std::string& kind) {
  bool given = false;
  return Tokenizer::train(
      [&](std::string& document) {
        document = text;
        return !std::exchange(given, true);
      },
      vocab, kind);
}

// Of equally frequent pairs the package takes another one from call to call; strobe's choice must
// be one of its.
TEST(WordPieceTrain, LearnsWhatHuggingFaceLearns) {
  const std::string text = read(data + "tokenizer_text.txt");
  for (const auto& [kind, expected] : cases()["learnt"].items()) {
    const Tokenizer trained = train(text, 350, kind);
    ASSERT_EQ(trained.vocab_size(), 350);
    EXPECT_EQ(trained.special("[PAD]"), 0);
    EXPECT_EQ(trained.special("[MASK]"), 4);
    std::set<std::string> found;
    for (int32_t id = 0; id < 350; ++id) found.emplace(trained.token_bytes(id));
    EXPECT_EQ(found.size(), 350u);
    const auto always = expected["always"].get<std::set<std::string>>();
    const auto sometimes = expected["sometimes"].get<std::set<std::string>>();
    EXPECT_TRUE(std::ranges::includes(found, always));
    EXPECT_TRUE(std::ranges::includes(sometimes, found));
    EXPECT_EQ(trained.hash(), train(text, 350, kind).hash());
  }
}

TEST(WordPieceTrain, RefusesWhatItCannotLearn) {
  EXPECT_THROW(train("some text", 5, "wordpiece"), Error);
  EXPECT_THROW(train("some text", 7, "wordpiece"), Error) << "more characters than entries";
  EXPECT_THROW(train("ab", 300, "wordpiece"), Error);
  EXPECT_THROW(train("some text", 300, "unigram"), Error);
}

Json good() { return Json::parse(read(data + "wordpiece_hf.json")); }

TEST(WordPieceJson, RefusesBadFiles) {
  struct BadFile {
    const char* name;
    std::function<void(Json&)> change;
    const char* message;
  };
  const std::vector<BadFile> table = {
      {"other normalizer",
       [](Json& j) {
         j["normalizer"] = {{"type", "NFC"}};
       },
       "normalizer is"},
      {"lowercase a number", [](Json& j) { j["normalizer"]["lowercase"] = 1; }, "lowercase is 1"},
      {"accents a text", [](Json& j) { j["normalizer"]["strip_accents"] = "no"; },
       "strip_accents is"},
      {"other words",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Whitespace"}};
       },
       "pre_tokenizer is"},
      {"no words", [](Json& j) { j["pre_tokenizer"] = nullptr; }, "pre_tokenizer is null"},
      {"other decoder",
       [](Json& j) {
         j["decoder"] = {{"type", "BPEDecoder"}};
       },
       "decoder is"},
      {"another prefix there", [](Json& j) { j["decoder"]["prefix"] = "@@"; }, "decoder is"},
      {"no unknown", [](Json& j) { j["model"]["unk_token"] = "[WHAT]"; }, "has no \"[WHAT]\""},
      {"unknown a number", [](Json& j) { j["model"]["unk_token"] = 1; }, "unk_token is 1"},
      {"prefix empty", [](Json& j) { j["model"]["continuing_subword_prefix"] = ""; },
       "continuing_subword_prefix is"},
      {"words of any length", [](Json& j) { j["model"]["max_input_chars_per_word"] = 1 << 30; },
       "max_input_chars_per_word"},
      {"words of no length", [](Json& j) { j["model"]["max_input_chars_per_word"] = 0; },
       "max_input_chars_per_word"},
      {"words of negative length", [](Json& j) { j["model"]["max_input_chars_per_word"] = -1; },
       "max_input_chars_per_word"},
      {"words of half a character", [](Json& j) { j["model"]["max_input_chars_per_word"] = 1.5; },
       "max_input_chars_per_word"},
      {"vocabulary a list", [](Json& j) { j["model"]["vocab"] = Json::array(); }, "of type array"},
      {"no vocabulary", [](Json& j) { j["model"].erase("vocab"); }, "of type null"},
      {"id huge", [](Json& j) { j["model"]["vocab"]["the"] = int64_t{1} << 60; }, "without gaps"},
      {"id twice", [](Json& j) { j["model"]["vocab"]["the"] = 7; }, "id 7 stands for"},
      {"added twice", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }, "twice"},
      {"added beyond", [](Json& j) { j["added_tokens"][0]["id"] = 1000000; }, "without gaps"},
  };
  const reference::TemporaryFolder folder;
  for (const BadFile& row : table) {
    Json json = good();
    row.change(json);
    std::ofstream(folder.file("t.json")) << json.dump();
    const std::string message = message_of(folder.file("t.json"));
    EXPECT_NE(message.find(row.message), std::string::npos) << row.name << ": " << message;
    EXPECT_TRUE(message.starts_with("tokenizer: ")) << row.name << ": " << message;
    EXPECT_LT(message.size(), 400u) << row.name;
  }
}

TEST(WordPieceJson, SurvivesDamage) {
  const std::string text = read(data + "wordpiece_hf.json");
  const reference::TemporaryFolder folder;
  for (size_t i = 0; i < 400; ++i) {
    std::string damaged = text;
    const size_t at = i * 2654435761u % text.size();
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << i % 8));
    std::ofstream(folder.file("t.json"), std::ios::binary) << damaged;
    try {
      const Tokenizer tokenizer = Tokenizer::load(folder.file("t.json"));
      std::vector<int32_t> ids;
      tokenizer.encode("The river's 12 stones", ids);
      tokenizer.decode(ids);
    } catch (const Error&) {
    }
    std::ofstream(folder.file("t.json"), std::ios::binary) << text.substr(0, at);
    EXPECT_NE(message_of(folder.file("t.json")), "accepted");
  }
}

TEST(BertFiles, AreRefusedWhereTheyAreNone) {
  const reference::TemporaryFolder folder;
  const auto message = [&](const std::string& vocabulary, const std::string& config) {
    std::ofstream(folder.file("vocab.txt"), std::ios::binary) << vocabulary;
    fs::remove(folder.file("tokenizer_config.json"));
    if (!config.empty()) std::ofstream(folder.file("tokenizer_config.json")) << config;
    return message_of("bert:" + folder.path());
  };
  const std::string good = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\n";
  EXPECT_EQ(message(good, ""), "accepted");
  EXPECT_EQ(message("[UNK]\r\nthe\r\n", "{}"), "accepted");
  EXPECT_NE(message("", "").find("has no \"[UNK]\""), std::string::npos);
  EXPECT_NE(message("the\n", "").find("has no \"[UNK]\""), std::string::npos);
  EXPECT_NE(message(good + "the\n", "").find("lines 6 and 8 are the same"), std::string::npos);
  EXPECT_NE(message(good + "\xff\n", "").find("line 8 is not UTF-8"), std::string::npos);
  EXPECT_NE(message(good, "{\"do_lower_case\": 3}").find("do_lower_case is 3"), std::string::npos);
  EXPECT_NE(message(good, "{").find("is not JSON"), std::string::npos);
  EXPECT_NE(message_of("bert:/no/such").find("/no/such"), std::string::npos);
}

TEST(BertFiles, OfBertBaseUncased) {
  if (!fs::exists(bert_folder))
    GTEST_SKIP() << "SKIPPED: BERT's vocabulary is not at " << bert_folder;
  const Tokenizer tokenizer = Tokenizer::load("bert:" + bert_folder);
  EXPECT_EQ(tokenizer.vocab_size(), 30522);
  EXPECT_EQ(tokenizer.special("[CLS]"), 101);
  EXPECT_EQ(
      encode(tokenizer, "Hello, how are you doing? Préposterously"),
      (std::vector<int32_t>{7592, 1010, 2129, 2024, 2017, 2725, 1029, 17463, 14122, 10624, 27191}));
}

}  // namespace
}  // namespace strobe
