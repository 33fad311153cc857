// Documents out of text files, whatever their packing.
#include <gtest/gtest.h>

#include "strobe/core/error.h"
#include "strobe/data/text_source.h"
#include "strobe/data/tokenizer.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

using namespace reference;

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

TEST(TextSource, SplitsArticlesAtTheirTitles) {
  const TemporaryFolder folder;
  const std::string wikitext =
      " \n = One = \n \n text = 1 = \n \n = = Part = = \n \n more \n \n = Two = \n \n end \n";
  write_text(folder.path() + "/a.tokens", wikitext);
  const auto found = documents_of({folder.path() + "/a.tokens"});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0] + found[1], wikitext);
  EXPECT_TRUE(found[1].starts_with(" = Two = "));
}

TEST(TextSource, TakesAFileWithoutTitlesAsOneDocument) {
  const TemporaryFolder folder;
  const std::string text = "a = b\n\n== no title ==\n\n= \n==\n= x\nend without a line end";
  write_text(folder.path() + "/a.txt", text);
  write_text(folder.path() + "/b.txt", "\n \n");  // nothing in it
  write_text(folder.path() + "/c.txt", "");
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
  write_text(file, "{\"body\": \"one\\ntwo\", \"id\": 1}\n\n{\"body\": \"= T =\\n\\nx\"}");
  EXPECT_EQ(documents_of({file}, "body"), (std::vector<std::string>{"one\ntwo", "= T =\n\nx"}));
  EXPECT_NE(error_of([&] { documents_of({file}, "text"); }).find("line 1"), std::string::npos);
}

TEST(TextSource, ReadsFoldersInOrderAndSkipsWhatItDoesNotKnow) {
  const TemporaryFolder folder;
  for (const char* name : {"b.txt", "a/z.txt", "a/y.txt", "c.pdf"})
    write_text(folder.path() + "/" + name, name);
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
    write_text(file, text);
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
  write_text(folder.path() + "/long.txt", text);
  write_text(folder.path() + "/long.jsonl", "{\"text\": \"" + text + "\"}\n");
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
  write_text(folder.path() + "/a.txt", "\xEF\xBB\xBF= One =\n\nx\n\n= Two =\n\ny");
  EXPECT_EQ(documents_of({folder.path() + "/a.txt"}),
            (std::vector<std::string>{"= One =\n\nx\n\n", "= Two =\n\ny"}));
  write_text(folder.path() + "/b.jsonl", "\xEF\xBB\xBF{\"text\": \"x\"}");
  EXPECT_EQ(documents_of({folder.path() + "/b.jsonl"}), std::vector<std::string>{"x"});
  write_text(folder.path() + "/c.txt", std::string("\xFF\xFEx\0", 4));
  EXPECT_NE(error_of([&] { documents_of({folder.path() + "/c.txt"}); }).find("UTF-16"),
            std::string::npos);
}

}  // namespace
}  // namespace strobe
