#include "strobe/data/split_reader.h"

#include <algorithm>
#include <utility>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"

namespace strobe {

namespace {

constexpr size_t kBatchBytes = 8 << 20;

}  // namespace

bool Splits::are_named(const std::vector<TextFile>& files) {
  const auto any = [&](const char* split) {
    return std::any_of(files.begin(), files.end(), [&](const auto& f) { return f.split == split; });
  };
  return any("train") && (any("valid") || any("test"));
}

bool Splits::wanted(std::string_view name) const {
  if (name == "train") return true;
  return !named_ && (name == "valid" ? valid_ : test_) > 0;
}

bool Splits::all_in(const std::map<std::string, int64_t>& found) const {
  return std::all_of(std::begin(kSplitNames), std::end(kSplitNames),
                     [&](const char* name) { return !wanted(name) || found.contains(name); });
}

void Splits::survey(const std::vector<TextFile>& files, const TextOptions& options,
                    const std::function<void(int64_t documents, int64_t bytes)>& report) {
  TextSource source(files, options);
  std::map<std::string, int64_t> found;
  bool inside = false;
  int64_t size = 0;
  documents_ = 0;
  for (TextPiece piece; source.next(piece);) {
    if (!inside) ++found[of(files[piece.file], documents_++)];
    if (all_in(found)) return;
    inside = !piece.last;
    size += static_cast<int64_t>(piece.text.size());
    report(documents_, size);
  }
  const auto bytes = static_cast<double>(size);
  ranges_.push_back({"train", static_cast<int64_t>(bytes * (1 - valid_ - test_))});
  if (valid_ > 0) ranges_.push_back({"valid", static_cast<int64_t>(bytes * (1 - test_))});
  if (test_ > 0) ranges_.push_back({"test", size});
  ranges_.back().end = INT64_MAX;
}

std::string Splits::of(const TextFile& file, int64_t document) const {
  if (named_) return file.split;
  const uint32_t drawn = random_block(0, RandomUse::split, 0, static_cast<uint64_t>(document))[0];
  const double place = drawn * 0x1p-32;
  return place < valid_ ? "valid" : place < valid_ + test_ ? "test" : "train";
}

void Splits::require(const std::map<std::string, int64_t>& found) const {
  int64_t documents = 0;
  for (const auto& [name, count] : found) documents += count;
  if (documents == 0) fail("data prepare: the text is empty: no document with a word in it");
  for (const char* name : kSplitNames) {
    if (!wanted(name) || found.contains(name)) continue;
    if (named_) fail("data prepare: the files of the split '{}' hold no text", name);
    fail(
        "data prepare: of {} document{} none falls to the split '{}', and no line ends where one "
        "could be cut; give more text, files whose names say train, valid and test, or other "
        "shares (--valid {} --test {} now; 0 makes no such split)",
        documents_, documents_ == 1 ? "" : "s", name, valid_, test_);
  }
}

std::string Splits::description() const {
  if (named_) return "named by the files";
  if (by_position()) return "cut by position, at ends of lines or documents";
  return "drawn document by document";
}

std::vector<SplitPiece> SplitReader::read() {
  std::vector<SplitPiece> batch;
  for (size_t bytes = 0; bytes < kBatchBytes;) {
    SplitPiece next;
    if (!next_piece(next)) break;
    if (!inside_) ++found_[split_ = split_of(next)];
    inside_ = !next.last;
    if (splits_.by_position()) cut(next);
    bytes += next.text.size();
    next.split = split_;
    batch.push_back(std::move(next));
  }
  return batch;
}

bool SplitReader::next_piece(TextPiece& out) {
  if (!rest_) return source_.next(out);
  out = std::move(*rest_);
  rest_.reset();
  return true;
}

std::string SplitReader::split_of(const TextPiece& piece) {
  const int64_t document = documents_++;
  return splits_.by_position() ? splits_.ranges()[range_].split
                               : splits_.of(files_[piece.file], document);
}

// Ends the document, and the split, with the first line that ends at the end of the range or
// after it; the rest of the piece comes next, as a document of the next split.
void SplitReader::cut(TextPiece& piece) {
  const auto size = static_cast<int64_t>(piece.text.size());
  const int64_t to_end = splits_.ranges()[range_].end - position_;
  position_ += size;
  if (to_end > size) return;
  const size_t line = piece.text.find('\n', static_cast<size_t>(std::max<int64_t>(to_end - 1, 0)));
  if (line == piece.text.npos && !piece.last) return;
  ++range_;
  inside_ = false;
  if (line != piece.text.npos && line + 1 < piece.text.size()) {
    rest_ = {piece.text.substr(line + 1), piece.file, piece.last};
    position_ -= static_cast<int64_t>(rest_->text.size());
    piece.text.resize(line + 1);
  }
  piece.last = true;
}

}  // namespace strobe
