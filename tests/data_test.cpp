// Reading text, preparing datasets, opening them again; and everything that can be wrong with them.
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
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
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using reference::TemporaryFolder;

void write(const std::string& file, const std::string& text) {
  fs::create_directories(fs::path(file).parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

std::string read(const std::string& file) { return read_file("test", file, int64_t{1} << 30); }

// Packs files through libarchive: an archive, or with format null the one file compressed.
void pack(const std::string& file, int (*format)(archive*), int (*filter)(archive*),
          const std::map<std::string, std::string>& files) {
  archive* out = archive_write_new();
  format(out);
  if (filter != nullptr) filter(out);
  ASSERT_EQ(archive_write_open_filename(out, file.c_str()), ARCHIVE_OK);
  for (const auto& [name, text] : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(text.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK);
    ASSERT_EQ(archive_write_data(out, text.data(), text.size()),
              static_cast<la_ssize_t>(text.size()));
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
}

std::vector<std::string> documents_of(const std::vector<std::string>& paths,
                                      const std::string& field = "text") {
  const TextOptions options{.paths = paths, .field = field};
  std::vector<std::string> skipped, out;
  TextSource source(text_files(options, skipped), options);
  bool inside = false;
  for (TextPiece piece; source.next(piece);) {
    if (!inside) out.emplace_back();
    out.back() += piece.text;
    inside = !piece.last;
  }
  EXPECT_FALSE(inside);
  return out;
}

PrepareResult prepare(const PrepareOptions& options) {
  return prepare(
      options, [](const PrepareProgress&) {}, [] { return false; });
}

// What `action` complains of.
std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string article(int number) {
  return fmt::format(
      "= Article {0} =\n\nThe river number {0} runs by the mill.\n\n== Course ==\n\n"
      "It runs {1} miles.\n\n",
      number, number * 7 % 13);
}

std::string articles(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += article(i);
  return text;
}

TEST(TextSource, SplitsArticlesAtTheirTitles) {
  const TemporaryFolder folder;
  const std::string wikitext =
      " \n = One = \n \n text = 1 = \n \n = = Part = = \n \n more \n \n = Two = \n \n end \n";
  write(folder.path() + "/a.tokens", wikitext);
  const auto found = documents_of({folder.path() + "/a.tokens"});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0] + found[1], wikitext);
  EXPECT_TRUE(found[1].starts_with(" = Two = "));
}

TEST(TextSource, TakesAFileWithoutTitlesAsOneDocument) {
  const TemporaryFolder folder;
  const std::string text = "a = b\n\n== no title ==\n\n= \n==\n= x\nend without a line end";
  write(folder.path() + "/a.txt", text);
  write(folder.path() + "/b.txt", "\n \n");  // nothing in it
  write(folder.path() + "/c.txt", "");
  EXPECT_EQ(documents_of({folder.path()}), std::vector<std::string>{text});
}

TEST(TextSource, ReadsEveryPacking) {
  const TemporaryFolder folder;
  const std::string text = articles(3), path = folder.path() + "/packed";
  const std::vector<std::string> expected = {article(0), article(1), article(2)};
  const std::map<std::string, std::string> one = {{"a.txt", text}};
  struct Packing {
    const char* ending;
    int (*format)(archive*);
    int (*filter)(archive*);
  };
  const Packing packings[] = {
      {".txt.gz", archive_write_set_format_raw, archive_write_add_filter_gzip},
      {".txt.bz2", archive_write_set_format_raw, archive_write_add_filter_bzip2},
      {".txt.xz", archive_write_set_format_raw, archive_write_add_filter_xz},
      {".txt.zst", archive_write_set_format_raw, archive_write_add_filter_zstd},
      {".tar", archive_write_set_format_ustar, nullptr},
      {".tar.gz", archive_write_set_format_ustar, archive_write_add_filter_gzip},
      {".tgz", archive_write_set_format_ustar, archive_write_add_filter_gzip},
      {".zip", archive_write_set_format_zip, nullptr},
  };
  for (const Packing& packing : packings) {
    pack(path + packing.ending, packing.format, packing.filter, one);
    EXPECT_EQ(documents_of({path + packing.ending}), expected) << packing.ending;
  }
}

TEST(TextSource, ReadsJsonLines) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/a.jsonl";
  write(file, "{\"body\": \"one\\ntwo\", \"id\": 1}\n\n{\"body\": \"= T =\\n\\nx\"}");
  EXPECT_EQ(documents_of({file}, "body"), (std::vector<std::string>{"one\ntwo", "= T =\n\nx"}));
  EXPECT_NE(error_of([&] { documents_of({file}, "text"); }).find("line 1"), std::string::npos);
}

TEST(TextSource, ReadsFoldersInOrderAndSkipsWhatItDoesNotKnow) {
  const TemporaryFolder folder;
  for (const char* name : {"b.txt", "a/z.txt", "a/y.txt", "c.pdf"})
    write(folder.path() + "/" + name, name);
  EXPECT_EQ(documents_of({folder.path()}),
            (std::vector<std::string>{"a/y.txt", "a/z.txt", "b.txt"}));
  std::vector<std::string> skipped;
  text_files({.paths = {folder.path()}}, skipped);
  EXPECT_EQ(skipped, std::vector<std::string>{folder.path() + "/c.pdf"});
}

TEST(TextSource, KnowsTheSplitOfAName) {
  const std::map<std::string, std::string> names = {{"wiki.train.tokens", "train"},
                                                    {"train-00.txt.xz", "train"},
                                                    {"val.jsonl", "valid"},
                                                    {"data/test/0.txt", "test"},
                                                    {"dev.txt", "valid"},
                                                    {"latest.txt", ""},
                                                    {"strain.txt", ""},
                                                    {"train/test.txt", "test"},
                                                    {"Validation_2.txt", "valid"},
                                                    {"", ""},
                                                    {"/", ""}};
  for (const auto& [name, split] : names) EXPECT_EQ(split_named_by(name), split) << name;
}

std::vector<TextPiece> pieces_of(const std::string& file) {
  const TextOptions options{.paths = {file}};
  std::vector<std::string> skipped;
  TextSource source(text_files(options, skipped), options);
  std::vector<TextPiece> pieces;
  for (TextPiece piece; source.next(piece);) pieces.push_back(piece);
  return pieces;
}

// A text of `bytes` bytes or a few more, of words drawn from `parts`.
std::string text_of(const std::vector<std::string>& parts, size_t bytes) {
  std::string text;
  for (uint64_t state = 1; text.size() < bytes;) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    text += parts[(state >> 33) % parts.size()];
  }
  return text;
}

// The pieces of a long document must give the tokens of the whole, in whatever script.
TEST(TextSource, CutsLongDocumentsWhereTokensEnd) {
  const std::map<std::string, std::vector<std::string>> scripts = {
      {"Latin", {"word", " ", "  ", "\n", " \n", "\n\n", "don't", "été", "12", "\t", "\u00a0"}},
      {"Cyrillic", {"река", "мельница", " ", " ", "\n"}},
      {"Chinese", {"河流", "磨坊经过", "。\n\u3000\u3000"}},
      {"Hindi and emoji", {"नदी", "🌊", " ", "\u2003"}},
      {"ill-formed", {"a\xff", "\xe2\x82", "\xd0 ", "\x80\x80\x80\x80\x80", " b"}}};
  for (const auto& [script, parts] : scripts) {
    const TemporaryFolder folder;
    const std::string text = text_of(parts, 5 << 20), file = folder.path() + "/long.txt";
    write(file, text);
    bool given = false;
    const Tokenizer tokenizer = Tokenizer::train(
        [&](std::string& out) {
          out = text.substr(0, 100000);
          return !std::exchange(given, true);
        },
        270);
    std::vector<int32_t> whole, cut;
    tokenizer.encode(text, whole);
    const std::vector<TextPiece> pieces = pieces_of(file);
    for (const TextPiece& piece : pieces) {
      tokenizer.encode(piece.text, cut);
      EXPECT_LE(piece.text.size(), 2u << 20) << script;
    }
    EXPECT_GE(pieces.size(), 3u) << script;
    EXPECT_EQ(cut, whole) << script;
  }
}

TEST(TextSource, CutsTextWithoutSpacesBetweenCharacters) {
  const TemporaryFolder folder;
  const std::string text = "ab" + text_of({"河"}, 12 << 20);
  write(folder.path() + "/long.txt", text);
  write(folder.path() + "/long.jsonl", "{\"text\": \"" + text + "\"}\n");
  for (const char* name : {"/long.txt", "/long.jsonl"}) {
    std::string joined;
    const std::vector<TextPiece> pieces = pieces_of(folder.path() + name);
    for (const TextPiece& piece : pieces) {
      joined += piece.text;
      EXPECT_EQ(static_cast<unsigned char>(piece.text.back()), 0xB3) << name;  // of E6 B2 B3
      EXPECT_LE(piece.text.size(), 6u << 20) << name;
      EXPECT_EQ(piece.last, &piece == &pieces.back()) << name;
    }
    EXPECT_GE(pieces.size(), 3u) << name;
    EXPECT_TRUE(joined == text) << name;
  }
}

TEST(TextSource, LeavesOutAByteOrderMarkAndRefusesUtf16) {
  const TemporaryFolder folder;
  write(folder.path() + "/a.txt", "\xEF\xBB\xBF= One =\n\nx\n\n= Two =\n\ny");
  EXPECT_EQ(documents_of({folder.path() + "/a.txt"}),
            (std::vector<std::string>{"= One =\n\nx\n\n", "= Two =\n\ny"}));
  write(folder.path() + "/b.jsonl", "\xEF\xBB\xBF{\"text\": \"x\"}");
  EXPECT_EQ(documents_of({folder.path() + "/b.jsonl"}), std::vector<std::string>{"x"});
  write(folder.path() + "/c.txt", std::string("\xFF\xFEx\0", 4));
  EXPECT_NE(error_of([&] { documents_of({folder.path() + "/c.txt"}); }).find("UTF-16"),
            std::string::npos);
}

struct Prepared {
  TemporaryFolder folder;
  PrepareOptions options;

  explicit Prepared(const std::string& text, const std::string& name = "text.txt") {
    write(folder.path() + "/" + name, text);
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
  write(p.folder.path() + "/in/train.txt", articles(20));
  write(p.folder.path() + "/in/valid.txt", article(20));
  write(p.folder.path() + "/in/LICENSE.txt", "as you like");
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
  write(in + "empty.txt", " \n\n");
  write(in + "one.txt", "One document of one line, and no other.\n");
  write(in + "list.jsonl", "{\"text\": \"x\"}\n[1, 2]\n");
  write(in + "number.jsonl", "{\"text\": 3, \"title\": \"x\"}\n");
  write(in + "folder/picture.png", "x");
  const std::string gz = in + "a.txt.gz", cut = in + "cut.txt.gz", tar = in + "cut.tar.gz";
  pack(gz, archive_write_set_format_raw, archive_write_add_filter_gzip, {{"a", articles(3000)}});
  write(cut, read(gz).substr(0, 9000));
  const std::pair<const char*, int (*)(archive*)> filters[] = {
      {".xz", archive_write_add_filter_xz},
      {".zst", archive_write_add_filter_zstd},
      {".bz2", archive_write_add_filter_bzip2}};
  for (const auto& [ending, filter] : filters) {
    const std::string file = in + "w.txt" + ending;
    pack(file, archive_write_set_format_raw, filter, {{"a", articles(3000)}});
    const std::string bytes = read(file);
    write(file, bytes.substr(0, bytes.size() / 2));
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
    write(data + c.file, c.bytes);
    const std::string message = error_of([&] { Dataset::open(data); });
    EXPECT_NE(message.find(c.says), std::string::npos)
        << c.file << " " << c.says << ": " << message;
    EXPECT_NE(message.find(data), std::string::npos) << message;
    write(data + c.file, whole);
  }
  EXPECT_EQ(error_of([&] { Dataset::open(data); }), "no error");
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
  write(from + "/wiki.valid.tokens", "x");
  write(from + "/wiki.test.tokens", "x");
  const std::string lacks = error_of([&] { named_corpus("wikitext-103", from); });
  EXPECT_NE(lacks.find("lacks wiki.train.tokens"), std::string::npos) << lacks;
  EXPECT_NE(lacks.find("https"), std::string::npos) << lacks;
  // A file that is not the published one is found out by its words.
  write(from + "/wiki.train.tokens", articles(20));
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
