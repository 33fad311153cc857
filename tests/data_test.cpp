// Reading text, preparing datasets, opening them again; and everything that can be wrong with them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <numbers>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/threads.h"
#include "strobe/data/corpora.h"
#include "strobe/data/dataset.h"
#include "strobe/data/entropy.h"
#include "strobe/data/prepare.h"
#include "strobe/data/text_source.h"
#include "strobe/data/tokenizer.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using namespace reference;

std::string read(const std::string& file) { return read_file("test", file, int64_t{1} << 30); }

PrepareResult prepare(const PrepareOptions& options) {
  return prepare(
      options, [](const PrepareProgress&) {}, [] { return false; });
}

struct Prepared {
  TemporaryFolder folder;
  PrepareOptions options;

  explicit Prepared(const std::string& text, const std::string& name = "text.txt") {
    write_text(folder.path() + "/" + name, text);
    options.text.paths = {folder.path() + "/" + name};
    options.tokenizer = "train:300";
    options.valid = options.test = 0.1;
    options.out = folder.path() + "/data";
  }
};

std::vector<int32_t> tokens_of(const Dataset& dataset, const std::string& split) {
  std::vector<int32_t> out(static_cast<size_t>(dataset.split(split).tokens));
  dataset.read(split, 0, dataset.split(split).tokens, out.data());
  return out;
}

TEST(Prepare, KeepsEveryDocumentWholeInOneSplit) {
  Prepared p(articles(200));
  prepare(p.options);
  const Dataset dataset = Dataset::open(p.options.out);
  const Tokenizer tokenizer = Tokenizer::load(dataset.tokenizer_file());
  std::map<std::string, int> seen;
  int64_t bytes = 0;
  for (const SplitInfo& split : dataset.splits()) {
    const std::vector<int32_t> tokens = tokens_of(dataset, split.name);
    const auto starts = dataset.document_starts(split.name);
    ASSERT_EQ(static_cast<int64_t>(starts.size()), split.documents);
    int64_t words = 0;
    for (size_t i = 0; i < starts.size(); ++i) {
      const size_t end = i + 1 < starts.size() ? starts[i + 1] : tokens.size();
      ASSERT_EQ(tokens[end - 1], dataset.end_of_text());
      const std::string text =
          tokenizer.decode(std::span(tokens).subspan(starts[i], end - 1 - starts[i]));
      ++seen[text];
      std::istringstream stream(text);
      for (std::string word; stream >> word;) ++words;
    }
    EXPECT_EQ(words, split.words);
    bytes += split.bytes;
    EXPECT_GT(split.documents, 5) << split.name;
  }
  EXPECT_EQ(seen.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(seen[article(i)], 1) << i;
  EXPECT_EQ(bytes, static_cast<int64_t>(articles(200).size()));
}

TEST(Prepare, GivesTheSameBytesOnAnyNumberOfThreads) {
  Prepared p(articles(200));
  const int before = threads();
  set_threads(1);
  prepare(p.options);
  const uint64_t one = Dataset::open(p.options.out).hash();
  set_threads(4);
  p.options.out += "2";
  prepare(p.options);
  set_threads(before);
  EXPECT_EQ(Dataset::open(p.options.out).hash(), one);
}

TEST(Prepare, KeepsTheSplitsThatFilesName) {
  Prepared p(articles(20), "train.txt");
  write_text(p.folder.path() + "/in/train.txt", articles(20));
  write_text(p.folder.path() + "/in/valid.txt", article(20));
  write_text(p.folder.path() + "/in/LICENSE.txt", "as you like");
  p.options.text.paths = {p.folder.path() + "/in"};
  const PrepareResult result = prepare(p.options);
  EXPECT_EQ(result.skipped.size(), 1u);
  const Dataset dataset = Dataset::open(p.options.out);
  ASSERT_EQ(dataset.splits().size(), 2u);
  EXPECT_EQ(dataset.split("train").documents, 20);
  EXPECT_EQ(dataset.split("valid").documents, 1);
}

// A book: one document. What goes to which split, and that nothing is lost or cut inside a line.
TEST(Prepare, CutsTooFewDocumentsByPosition) {
  const auto lines = [](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i)
      out += fmt::format("line {} of the book, which has no titles\n", i);
    return out;
  };
  // Within one piece; in several of a megabyte, two of which a boundary may share; with documents.
  const std::string texts[] = {lines(400), lines(60000), article(1) + article(2) + lines(300)};
  for (const std::string& text : texts) {
    Prepared p(text);
    EXPECT_TRUE(prepare(p.options).cut_by_position);
    const Dataset dataset = Dataset::open(p.options.out);
    const Tokenizer tokenizer = Tokenizer::load(dataset.tokenizer_file());
    std::string joined;
    for (const char* split : {"train", "valid", "test"}) {
      std::vector<int32_t> tokens = tokens_of(dataset, split);
      EXPECT_EQ(tokens.back(), dataset.end_of_text());
      std::erase(tokens, dataset.end_of_text());
      const std::string part = tokenizer.decode(tokens);
      EXPECT_EQ(part.back(), '\n');
      const double share = split == std::string("train") ? 0.8 : 0.1;
      EXPECT_NEAR(static_cast<double>(part.size()), share * static_cast<double>(text.size()), 120);
      joined += part;
    }
    EXPECT_EQ(joined, text);
  }
  Prepared lines_of_json("{\"text\": \"a b c\"}\n{\"text\": \"d e f\"}\n{\"text\": \"g h i\"}\n",
                         "text.jsonl");
  lines_of_json.options.tokenizer = "train:257", lines_of_json.options.valid = 0.3;
  lines_of_json.options.test = 0.3;
  EXPECT_EQ(prepare(lines_of_json.options).splits.size(), 3u);
  Prepared enough(articles(200));
  EXPECT_FALSE(prepare(enough.options).cut_by_position);
}

TEST(Prepare, CountsIllFormedUtf8) {
  Prepared p(articles(50) +
             "= Bad =\n\na\xff\xfe"
             "b \xe2\x82 c\n");
  const PrepareResult result = prepare(p.options);
  EXPECT_EQ(result.invalid_utf8, 3);
  EXPECT_NE(read(p.options.out + "/dataset.json").find("\"invalid_utf8\": 3"), std::string::npos);
}

TEST(Prepare, LeavesNothingBehindWhenItFails) {
  Prepared p("{\"text\": \"a b c d e f g\"}\nnot json\n", "text.jsonl");
  p.options.tokenizer = "train:257";
  EXPECT_NE(error_of([&] { prepare(p.options); }).find("line 2"), std::string::npos);
  EXPECT_NE(error_of([&] {
              Prepared stopped(articles(9));
              strobe::prepare(
                  stopped.options, [](const PrepareProgress&) {}, [] { return true; });
            }).find("stopped"),
            std::string::npos);
  int entries = 0;
  for (const auto& entry : fs::directory_iterator(p.folder.path())) ++entries, (void)entry;
  EXPECT_EQ(entries, 1);
}

TEST(Prepare, RefusesBadInput) {
  const Prepared p(articles(40));
  const std::string in = p.folder.path() + "/";
  write_text(in + "empty.txt", " \n\n");
  write_text(in + "one.txt", "One document of one line, and no other.\n");
  write_text(in + "list.jsonl", "{\"text\": \"x\"}\n[1, 2]\n");
  write_text(in + "number.jsonl", "{\"text\": 3, \"title\": \"x\"}\n");
  write_text(in + "folder/picture.png", "x");
  const std::string gz = in + "a.txt.gz", cut = in + "cut.txt.gz", tar = in + "cut.tar.gz";
  pack(gz, archive_write_set_format_raw, archive_write_add_filter_gzip, {{"a", articles(3000)}});
  write_text(cut, read(gz).substr(0, 9000));
  const std::pair<const char*, int (*)(archive*)> filters[] = {
      {".xz", archive_write_add_filter_xz},
      {".zst", archive_write_add_filter_zstd},
      {".bz2", archive_write_add_filter_bzip2}};
  for (const auto& [ending, filter] : filters) {
    const std::string file = in + "w.txt" + ending;
    pack(file, archive_write_set_format_raw, filter, {{"a", articles(3000)}});
    const std::string bytes = read(file);
    write_text(file, bytes.substr(0, bytes.size() / 2));
  }
  struct Case {
    const char* name;
    std::vector<std::string> says;
    std::function<void(PrepareOptions&)> spoil;
  };
  const auto text = [&](const std::string& file) {
    return [file](PrepareOptions& o) { o.text.paths = {file}; };
  };
  const std::vector<Case> cases = {
      {"missing file", {"nowhere.txt", "no such file"}, text(in + "nowhere.txt")},
      {"empty", {"empty"}, text(in + "empty.txt")},
      {"no text in a folder", {"no text in", ".jsonl", "skipped 1"}, text(in + "folder")},
      {"too few documents", {"of 1 document", "'valid'", "--valid"}, text(in + "one.txt")},
      {"truncated gz", {"cut.txt.gz", "truncated"}, text(cut)},
      {"truncated xz", {"w.txt.xz", "truncated"}, text(in + "w.txt.xz")},
      {"truncated zst", {"w.txt.zst", "truncated"}, text(in + "w.txt.zst")},
      {"truncated bz2", {"w.txt.bz2", "truncated"}, text(in + "w.txt.bz2")},
      {"JSON that is no object", {"list.jsonl line 2"}, text(in + "list.jsonl")},
      {"JSON without the field",
       {"number.jsonl line 1", "'text'", "title"},
       text(in + "number.jsonl")},
      {"out exists", {"exists"}, [&](PrepareOptions& o) { o.out = in + "folder"; }},
      {"no vocabulary size", {"train:2048"}, [](PrepareOptions& o) { o.tokenizer = "train:many"; }},
      {"vocabulary too small", {"257"}, [](PrepareOptions& o) { o.tokenizer = "train:9"; }},
      {"no tokenizer", {"nowhere.json"}, [](PrepareOptions& o) { o.tokenizer = "nowhere.json"; }},
      {"shares", {"--valid 0.6"}, [](PrepareOptions& o) { o.valid = o.test = 0.6; }},
      {"shares that are no numbers", {"--valid"}, [](PrepareOptions& o) { o.valid = NAN; }},
      {"out where nothing can be",
       {"text.txt/x"},
       [&](PrepareOptions& o) { o.out = in + "text.txt/x"; }},
  };
  for (const Case& c : cases) {
    PrepareOptions options = p.options;
    c.spoil(options);
    const std::string message = error_of([&] { prepare(options); });
    for (const std::string& part : c.says)
      EXPECT_NE(message.find(part), std::string::npos) << c.name << ": " << message;
    EXPECT_FALSE(fs::exists(in + "data")) << c.name;
  }
}

TEST(Dataset, RefusesDamage) {
  Prepared p(articles(60));
  prepare(p.options);
  Prepared other(articles(60));
  other.options.tokenizer = "train:290";
  prepare(other.options);
  const std::string shard = "/train-00000.tokens", documents = "/train.documents";
  const auto flip = [](std::string bytes, size_t at) {
    bytes.at(at) = static_cast<char>(bytes.at(at) ^ 1);
    return bytes;
  };
  const std::string data = p.options.out;
  const std::string s = read(data + shard), d = read(data + documents),
                    j = read(data + "/dataset.json");
  struct Case {
    std::string file, bytes, says;
  };
  std::vector<Case> cases = {
      {shard, flip(s, s.size() - 1), "damaged"},
      {shard, flip(s, 32), "checksum"},
      {shard, flip(s, 40), "damaged"},
      {shard, flip(s, 0), "not strobe's"},
      {shard, flip(s, 8), "version"},
      {shard, flip(s, 12), "damaged"},
      {shard, flip(s, 23), "truncated"},  // a count of 2^56 tokens more
      {shard, s.substr(0, s.size() - 2), "truncated"},
      {shard, s.substr(0, 63), "less than a header"},
      {shard, "", "less than a header"},
      {shard, read(other.options.out + shard), "another vocabulary"},
      {shard, d, "not strobe's"},
      {documents, flip(d, d.size() - 1), "damaged"},
      {documents, s, "not strobe's"},
      {documents, read(other.options.out + documents), "another vocabulary"},
      {"/tokenizer.json", read(other.options.out + "/tokenizer.json"), "another vocabulary"},
      {"/dataset.json", "[]", "damaged"},
      {"/dataset.json", flip(j, j.find("\"words\": ") + 9), "checksum"},
      {"/dataset.json", flip(j, j.find("\"bytes\": ") + 9), "checksum"},
      {"/dataset.json", flip(j, j.rfind("\"checksum\": ") + 13), "checksum"},
      {"/dataset.json", j.substr(0, j.size() / 2), "damaged"},
      {"/dataset.json",
       R"({"splits": [{"name": "../x", "tokens": 1, "documents": 1, "bytes": 1, "words": 1, "shards": []}]})",
       "name"},
      {"/dataset.json",
       R"({"splits": [{"name": "train", "tokens": -1, "documents": 1, "bytes": 1, "words": 1, "shards": []}]})",
       "tokens"},
  };
  for (const Case& c : cases) {
    const std::string whole = read(data + c.file);
    write_text(data + c.file, c.bytes);
    const std::string message = error_of([&] { Dataset::open(data); });
    EXPECT_NE(message.find(c.says), std::string::npos)
        << c.file << " " << c.says << ": " << message;
    EXPECT_NE(message.find(data), std::string::npos) << message;
    write_text(data + c.file, whole);
  }
  EXPECT_EQ(error_of([&] { Dataset::open(data); }), "accepted");
  fs::remove(data + documents);
  EXPECT_NE(error_of([&] { Dataset::open(data); }).find("train.documents"), std::string::npos);
}

TEST(Corpora, SayWhatIsMissing) {
  const TemporaryFolder folder;
  const std::string from = folder.path();
  EXPECT_NE(error_of([] { named_corpus("wikitext2", ""); }).find("did you mean 'wikitext-2'"),
            std::string::npos);
  EXPECT_NE(error_of([] { named_corpus("wikitext-103", ""); }).find("published at https"),
            std::string::npos);
  write_text(from + "/wiki.valid.tokens", "x");
  write_text(from + "/wiki.test.tokens", "x");
  const std::string lacks = error_of([&] { named_corpus("wikitext-103", from); });
  EXPECT_NE(lacks.find("lacks wiki.train.tokens"), std::string::npos) << lacks;
  EXPECT_NE(lacks.find("https"), std::string::npos) << lacks;
  // A file that is not the published one is found out by its words.
  write_text(from + "/wiki.train.tokens", articles(20));
  PrepareOptions options = named_corpus("wikitext-2", from);
  options.tokenizer = "train:260";
  options.out = from + "/out";
  EXPECT_NE(error_of([&] { prepare(options); }).find("2088628"), std::string::npos);
}

TEST(Corpora, CountTheOfficialWordsOfWikiText2) {
  const std::string from = STROBE_SOURCE_DIR "/../shared/data/wikitext-2";
  if (!fs::exists(from)) GTEST_SKIP() << "*** " << from << " is absent: NOT TESTED ***";
  const TemporaryFolder folder;
  PrepareOptions options = named_corpus("wikitext-2", from);
  options.tokenizer = "gpt2:" STROBE_SOURCE_DIR "/../shared/data/gpt2-bpe";
  options.out = folder.path() + "/data";
  prepare(options);
  const Dataset dataset = Dataset::open(options.out);
  EXPECT_EQ(dataset.split("train").words, 2088628);
  EXPECT_EQ(dataset.split("valid").words, 217646);
  EXPECT_EQ(dataset.split("test").words, 245569);
  EXPECT_EQ(dataset.split("valid").documents, 60);
  EXPECT_EQ(dataset.split("test").documents, 60);
}

// By the formulas in entropy.h, over dense tables.
TEST(Entropy, FollowsItsDefinition) {
  Prepared p(articles(100));
  prepare(p.options);
  const Dataset dataset = Dataset::open(p.options.out);
  const auto train = tokens_of(dataset, "train"), valid = tokens_of(dataset, "valid");
  const auto vocab = static_cast<size_t>(dataset.vocab());
  std::vector<double> count(vocab), sum(vocab), types(vocab), pairs(vocab * vocab);
  for (size_t i = 1; i < train.size(); ++i) {
    const auto v = static_cast<size_t>(train[i - 1]), w = static_cast<size_t>(train[i]);
    count[w] += 1, sum[v] += 1;
    types[v] += pairs[v * vocab + w] == 0;
    pairs[v * vocab + w] += 1;
  }
  double unigram = 0, bigram = 0;
  for (size_t i = 1; i < valid.size(); ++i) {
    const auto v = static_cast<size_t>(valid[i - 1]), w = static_cast<size_t>(valid[i]);
    const double p1 = (count[w] + 1) / (static_cast<double>(train.size() - 1 + vocab));
    unigram -= std::log(p1);
    bigram -= sum[v] == 0 ? std::log(p1)
                          : std::log((pairs[v * vocab + w] + types[v] * p1) / (sum[v] + types[v]));
  }
  const SplitEntropy found = split_entropy(dataset, "valid");
  const auto scored = static_cast<double>(valid.size() - 1);
  const double bits = 1 / std::numbers::ln2 / static_cast<double>(dataset.split("valid").bytes);
  EXPECT_NEAR(found.unigram_nats, unigram / scored, 1e-9);
  EXPECT_NEAR(found.bigram_nats, bigram / scored, 1e-9);
  EXPECT_NEAR(found.unigram_bits_per_byte, unigram * bits, 1e-9);
  EXPECT_NEAR(found.bigram_bits_per_byte, bigram * bits, 1e-9);
  EXPECT_LT(found.bigram_nats, found.unigram_nats);
}

}  // namespace
}  // namespace strobe
