#include "strobe/data/text_source.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "strobe/core/error.h"
#include "strobe/data/archive.h"
#include "strobe/data/unicode.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;

constexpr size_t piece_bytes = 1 << 20;    // a piece is cut as soon as it can be after this many
constexpr size_t longest_piece = 4 << 20;  // and anyhow after this many
constexpr size_t longest_json_line = 256 << 20;
constexpr size_t read_bytes = 256 << 10;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_blank(std::string_view text) { return std::all_of(text.begin(), text.end(), is_space); }

// " = Title = " or "= Title =", and not a heading of a section, " = = x = = " or "== x ==".
bool is_title(std::string_view line) {
  while (!line.empty() && is_space(line.back())) line.remove_suffix(1);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (line.size() < 5 || !line.starts_with("= ") || !line.ends_with(" =")) return false;
  return line[2] != '=' && line[line.size() - 3] != '=';
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The class of the character that begins at text[at] and ends before text[end]; nothing if those
// bytes are no well-formed character, or only the beginning of one.
std::optional<CharClass> class_at(std::string_view text, size_t at, size_t end) {
  const std::string_view character = text.substr(at, end - at);
  if (character.empty() || find_ill_formed(character) != character.size()) return std::nullopt;
  return char_class(decode_utf8(character, 0).value);
}

// The last place where a document may be cut (see TextPiece), of those that end after `from`; 0 if
// there is none. Reads from the end, and no further than `from`.
size_t cut_place(std::string_view text, size_t from) {
  std::optional<CharClass> next;  // of the character after the one looked at
  for (size_t end = text.size(); end > from;) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && is_continuation(text[at])) --at;
    const std::optional<CharClass> here = class_at(text, at, end);
    if (at > 0 && here == CharClass::space && next && next != CharClass::space) return at;
    next = here, end = at;
  }
  return 0;
}

// The length of `text` without a character of which only the beginning is there.
size_t whole_characters(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && text.size() - at < 3 && is_continuation(text[at - 1])) --at;
  if (at == 0) return text.size();
  const auto lead = static_cast<unsigned char>(text[at - 1]);
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  return text.size() - (at - 1) < size ? at - 1 : text.size();
}

// Bytes become lines, lines of one file become pieces of documents.
class Splitter {
 public:
  Splitter(bool json, std::string field, std::string name)
      : json_(json), field_(std::move(field)), name_(std::move(name)) {}

  void add(std::string_view bytes, std::deque<TextPiece>& out) {
    if (!std::exchange(begun_reading_, true)) bytes = without_byte_order_mark(bytes);
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const size_t take = end == bytes.npos ? bytes.size() : end + 1;
      line_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
      if (end != bytes.npos)
        end_line(out);
      else if (json_ && line_.size() > longest_json_line)
        fail("data: {} line {} is longer than {} MB", name_, number_ + 1, longest_json_line >> 20);
      else if (!json_ && line_.size() > piece_bytes)
        flush_line(out);
    }
  }

  void finish(std::deque<TextPiece>& out) {
    if (!line_.empty()) end_line(out);
    if (begun_ || !is_blank(document_)) emit(out, document_.size(), true);
  }

 private:
  void end_line(std::deque<TextPiece>& out) {
    ++number_;
    if (json_) {
      parse_line(out);
      line_.clear();
      return;
    }
    if (whole_line_ && after_blank_ && (begun_ || !is_blank(document_)) && is_title(line_))
      emit(out, document_.size(), true);
    after_blank_ = whole_line_ && is_blank(line_);
    flush_line(out);
    whole_line_ = true;
  }

  std::string_view without_byte_order_mark(std::string_view bytes) const {
    if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF"))
      fail("data: {} is UTF-16; UTF-8 is accepted ('iconv -f UTF-16 -t UTF-8' converts)", name_);
    return bytes.starts_with("\xEF\xBB\xBF") ? bytes.substr(3) : bytes;
  }

  // Moves what there is of a line into the document, and cuts that if it is long.
  void flush_line(std::deque<TextPiece>& out) {
    document_ += line_;
    line_.clear();
    whole_line_ = false;
    if (document_.size() < piece_bytes) return;
    const size_t cut = cut_place(document_, searched_);
    // Two characters at the end may yet become a place to cut.
    searched_ = document_.size() - 8;
    if (cut > 0)
      emit(out, cut, false);
    else if (document_.size() > longest_piece)
      emit(out, whole_characters(document_), false);
  }

  void emit(std::deque<TextPiece>& out, size_t bytes, bool last) {
    TextPiece piece;
    piece.last = last;
    if (bytes == document_.size()) {
      piece.text = std::exchange(document_, {});
    } else {
      piece.text = document_.substr(0, bytes);
      document_.erase(0, bytes);
    }
    begun_ = !last;
    searched_ = 0;
    out.push_back(std::move(piece));
  }

  void parse_line(std::deque<TextPiece>& out) {
    if (is_blank(line_)) return;
    const auto json = nlohmann::json::parse(line_, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object())
      fail("data: {} line {} is not a JSON object; one a line, as {{\"{}\": \"...\"}}, is accepted",
           name_, number_, field_);
    const auto found = json.find(field_);
    if (found == json.end() || !found->is_string()) {
      std::vector<std::string> keys;
      for (const auto& [key, value] : json.items())
        if (value.is_string()) keys.push_back(key);
      fail("data: {} line {} has no text under '{}'; it has text under: {}", name_, number_, field_,
           keys.empty() ? "nothing" : fmt::format("{}", fmt::join(keys, ", ")));
    }
    const auto& text = found->get_ref<const std::string&>();
    if (is_blank(text)) return;
    std::string_view rest = text;
    while (rest.size() > 2 * piece_bytes) {
      size_t cut = cut_place(rest.substr(0, 2 * piece_bytes), 0);
      if (cut == 0) cut = whole_characters(rest.substr(0, longest_piece));
      if (cut == rest.size()) break;
      out.push_back({std::string(rest.substr(0, cut)), 0, false});
      rest.remove_prefix(cut);
    }
    out.push_back({std::string(rest), 0, true});
  }

  bool json_;
  std::string field_, name_;
  std::string line_, document_;
  int64_t number_ = 0;
  size_t searched_ = 0;  // up to here document_ has no place to cut
  bool begun_reading_ = false;
  bool begun_ = false;       // a piece of this document has been given out
  bool after_blank_ = true;  // the line before is blank, or there is none
  bool whole_line_ = true;   // line_ holds its line from the beginning
};

bool ends_with_any(const std::string& name, std::initializer_list<const char*> ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](const char* end) { return name.ends_with(end); });
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// "articles.jsonl.gz" -> "articles.jsonl".
std::string without_compression(std::string name) {
  if (ends_with_any(name, {".gz", ".bz2", ".xz", ".zst"})) name.resize(name.rfind('.'));
  return name;
}

bool is_archive(const std::string& path) {
  const std::string name = lower(path);
  return ends_with_any(name, {".zip", ".tgz", ".tbz2", ".txz"}) ||
         without_compression(name).ends_with(".tar");
}

bool is_json(const std::string& path) {
  return ends_with_any(without_compression(lower(path)), {".jsonl", ".ndjson"});
}

bool is_known(const std::string& path) {
  return is_archive(path) || is_json(path) ||
         ends_with_any(without_compression(lower(path)), {".txt", ".tokens", ".raw"});
}

// Adds a file, or the files inside an archive. `shown` is the part of its path that may name a
// split.
void add_file(const std::string& path, const std::string& shown, const TextOptions& options,
              std::vector<TextFile>& files, std::vector<std::string>& skipped) {
  if (path == "-") {
    files.push_back({path, "", "", options.lines_are_json});
    return;
  }
  if (!is_archive(path)) {
    ArchiveReader probe(path);  // says now, not after an hour, if it cannot be read
    files.push_back({path, "", split_named_by(shown), is_json(path)});
    return;
  }
  ArchiveReader archive(path);
  while (archive.next()) {
    const std::string& entry = archive.entry();
    if (is_archive(entry) || !is_known(entry)) {
      skipped.push_back(archive.name());
      continue;
    }
    files.push_back({path, entry, split_named_by(shown + "/" + entry), is_json(entry)});
  }
}

}  // namespace

std::string split_named_by(std::string_view path) {
  const std::string name = lower(std::string(path));
  std::string found;
  // The last component that has such a word decides, and the first word in it.
  for (size_t end = name.size(); found.empty() && end != std::string::npos;) {
    const size_t slash = end == 0 ? std::string::npos : name.rfind('/', end - 1);
    const size_t begin = slash == std::string::npos ? 0 : slash + 1;
    std::string word;
    for (size_t i = begin; i <= end && found.empty(); ++i) {
      if (i < end && name[i] >= 'a' && name[i] <= 'z') {
        word += name[i];
        continue;
      }
      if (word == "train" || word == "training") found = "train";
      if (word == "valid" || word == "validation" || word == "val" || word == "dev")
        found = "valid";
      if (word == "test") found = "test";
      word.clear();
    }
    end = slash;
  }
  return found;
}

std::vector<TextFile> text_files(const TextOptions& options, std::vector<std::string>& skipped) {
  std::vector<TextFile> files;
  for (const std::string& path : options.paths) {
    std::error_code error;
    if (path == "-" || !fs::is_directory(path, error)) {
      add_file(path, fs::path(path).filename().string(), options, files, skipped);
      continue;
    }
    std::vector<std::string> inside;
    for (auto entry = fs::recursive_directory_iterator(path, error);
         !error && entry != fs::recursive_directory_iterator(); entry.increment(error))
      if (entry->is_regular_file()) inside.push_back(entry->path().string());
    if (error) fail("data: cannot read the folder {}: {}", path, error.message());
    std::sort(inside.begin(), inside.end());
    for (const std::string& file : inside) {
      if (is_known(file))
        add_file(file, fs::path(file).lexically_relative(path).string(), options, files, skipped);
      else
        skipped.push_back(file);
    }
  }
  if (files.empty())
    fail(
        "data: no text in {}{}; .txt, .jsonl, .tokens and .raw are read, also inside .gz, .bz2, "
        ".xz, .zst, .tar and .zip",
        fmt::join(options.paths, ", "),
        skipped.empty() ? "" : fmt::format(" (skipped {} files of other kinds)", skipped.size()));
  return files;
}

struct TextSource::Impl {
  std::vector<TextFile> files;
  TextOptions options;
  size_t file = 0;
  std::unique_ptr<ArchiveReader> reader;
  std::optional<Splitter> splitter;
  std::deque<TextPiece> ready;
  std::string buffer = std::string(read_bytes, '\0');

  // Moves the reader to the current file; false if that is empty. An archive's files follow each
  // other in the list.
  bool open() {
    const TextFile& current = files[file];
    const bool same = file > 0 && files[file - 1].path == current.path && !current.entry.empty();
    if (!same) reader = std::make_unique<ArchiveReader>(current.path);
    do {
      if (!reader->next()) {
        if (current.entry.empty()) return false;
        fail("data: {} no longer holds {}", current.path, current.entry);
      }
    } while (!current.entry.empty() && reader->entry() != current.entry);
    splitter.emplace(current.json, options.field, reader->name());
    return true;
  }
};

TextSource::TextSource(std::vector<TextFile> files, TextOptions options)
    : impl_(std::make_unique<Impl>()) {
  impl_->files = std::move(files);
  impl_->options = std::move(options);
}

TextSource::~TextSource() = default;

bool TextSource::next(TextPiece& out) {
  Impl& m = *impl_;
  while (m.ready.empty()) {
    if (m.file == m.files.size()) return false;
    if (!m.splitter && !m.open()) {
      ++m.file;
      continue;
    }
    const size_t got = m.reader->read(m.buffer.data(), m.buffer.size());
    m.splitter->add({m.buffer.data(), got}, m.ready);
    const bool end = got < m.buffer.size();
    if (end) m.splitter->finish(m.ready);
    for (TextPiece& piece : m.ready) piece.file = m.file;
    if (!end) continue;
    m.splitter.reset();
    ++m.file;
  }
  out = std::move(m.ready.front());
  m.ready.pop_front();
  return true;
}

}  // namespace strobe
