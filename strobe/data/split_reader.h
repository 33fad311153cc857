// Which split of a dataset a text goes to, and texts with their splits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/data/text_source.h"

namespace strobe {

inline constexpr const char* kSplitNames[] = {"train", "valid", "test"};

/// Where text goes: to the split that its file's name says; else, document by document, to one
/// drawn for the document's number; or, where there are too few documents for that, by its
/// position.
class Splits {
 public:
  /// `valid` and `test`: the shares of those that are drawn or cut.
  Splits(const std::vector<TextFile>& files, double valid, double test)
      : named_(are_named(files)), valid_(valid), test_(test) {}

  bool named() const { return named_; }
  bool by_position() const { return !ranges_.empty(); }
  /// Whether splits are drawn, of which survey() has to tell that each gets a document.
  bool drawn() const { return !named_ && valid_ + test_ > 0; }

  /// Reads until every split has a document. If none is left before that, cuts by position. Tells
  /// `report` of the documents and bytes read so far, which may throw.
  void survey(const std::vector<TextFile>& files, const TextOptions& options,
              const std::function<void(int64_t documents, int64_t bytes)>& report);

  std::string of(const TextFile& file, int64_t document) const;

  /// By position: a split, and the byte of the whole text after which its last line or document
  /// ends.
  struct Range {
    std::string split;
    int64_t end;
  };
  const std::vector<Range>& ranges() const { return ranges_; }

  /// Throws Error unless each split that was asked for has a document.
  void require(const std::map<std::string, int64_t>& found) const;

  /// For people and dataset.json.
  std::string description() const;

 private:
  static bool are_named(const std::vector<TextFile>& files);
  bool wanted(std::string_view name) const;
  bool all_in(const std::map<std::string, int64_t>& found) const;

  bool named_;
  double valid_, test_;
  std::vector<Range> ranges_;
  int64_t documents_ = 0;  // of the whole text, where it is cut by position
};

/// A piece of a document of one split.
struct SplitPiece : TextPiece {
  std::string split;
};

class SplitReader {
 public:
  /// `files` and `splits` must outlive this.
  SplitReader(const std::vector<TextFile>& files, const TextOptions& options, const Splits& splits)
      : files_(files), splits_(splits), source_(files, options) {}

  /// As many pieces as make a batch; none at the end.
  std::vector<SplitPiece> read();
  int64_t documents() const { return documents_; }
  /// Documents of each split that has any.
  const std::map<std::string, int64_t>& found() const { return found_; }

 private:
  bool next_piece(TextPiece& out);
  std::string split_of(const TextPiece& piece);
  void cut(TextPiece& piece);

  const std::vector<TextFile>& files_;
  const Splits& splits_;
  TextSource source_;
  std::string split_;
  int64_t documents_ = 0;
  std::map<std::string, int64_t> found_;
  bool inside_ = false;
  size_t range_ = 0;      // by position: of the split being read
  int64_t position_ = 0;  // bytes read
  std::optional<TextPiece> rest_;
};

}  // namespace strobe
