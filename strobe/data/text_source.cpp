#include "strobe/data/text_source.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

constexpr size_t kBlock = 1 << 18;  // bytes read at a time

bool is_packing(const std::string& extension) {
  const std::string known[] = {".gz", ".bz2", ".xz", ".zst", ".tar", ".zip", ".tgz"};
  return std::find(std::begin(known), std::end(known), extension) != std::end(known);
}

// The extension beneath compression: ".txt" of "a.txt.xz".
std::string kind_of(const fs::path& path) {
  fs::path name = path.filename();
  while (is_packing(name.extension())) name = name.stem();
  return name.extension();
}

bool is_text(const fs::path& path) {
  const std::string kind = kind_of(path);
  return kind == ".txt" || kind == ".jsonl" || kind == ".tokens" || kind == ".raw" ||
         (kind.empty() && is_packing(path.extension()));
}

std::string split_of(const fs::path& path) {
  const std::string name = path.filename();
  for (const char* split : {"train", "valid", "test"})
    if (name.find(split) != std::string::npos) return split;
  return "";
}

std::vector<std::string> expand(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    if (input == "-") {
      files.push_back(input);
      continue;
    }
    if (!fs::exists(input)) fail("data: no file or folder {}", input);
    if (!fs::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(input))
      if (entry.is_regular_file() && is_text(entry.path())) found.push_back(entry.path());
    if (found.empty())
      fail("data: {} holds no text: .txt, .jsonl, .tokens, .raw, packed or not", input);
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

// "= Title =", but not "== Section ==".
bool is_title(std::string_view line) {
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\n'))
    line.remove_suffix(1);
  return line.size() > 4 && line.starts_with("= ") && line.ends_with(" =") && line[2] != '=' &&
         line[line.size() - 3] != '=';
}

// Lines in, documents out.
class Splitter {
 public:
  Splitter(std::string name, const std::string& field, const DocumentVisitor& visit)
      : name_(std::move(name)), field_(field), visit_(visit) {
    jsonl_ = kind_of(name_) == ".jsonl";
    split_ = split_of(name_);
  }

  // False once the visitor wants no more.
  bool feed(std::string_view text) {
    pending_.append(text);
    size_t begin = 0;
    for (size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1)
      if (!line(std::string_view(pending_).substr(begin, end + 1 - begin))) return false;
    pending_.erase(0, begin);
    return true;
  }
  bool finish() {
    if (!pending_.empty() && !line(pending_)) return false;
    return hand_out();
  }

 private:
  bool line(std::string_view text) {
    ++number_;
    if (jsonl_) return json_line(text);
    if ((is_title(text) || document_.size() > kLongestPiece) && !hand_out()) return false;
    document_.append(text);
    return true;
  }
  bool json_line(std::string_view text) {
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return true;
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail("data: {}:{}: not a JSON object", name_, number_);
    const auto value = json.find(field_);
    if (value == json.end() || !value->is_string()) {
      std::vector<std::string> keys;
      for (const auto& [key, unused] : json.items()) keys.push_back(key);
      fail("data: {}:{}: no text field '{}'; it has {}", name_, number_, field_,
           fmt::join(keys, ", "));
    }
    document_ = value->get<std::string>();
    return hand_out();
  }
  bool hand_out() {
    const bool blank = document_.find_first_not_of(" \t\r\n") == std::string::npos;
    Document document{std::move(document_), split_};
    document_.clear();
    return blank || visit_(document);
  }

  std::string name_, field_;
  const DocumentVisitor& visit_;
  bool jsonl_ = false;
  std::string split_, pending_, document_;
  int64_t number_ = 0;
};

struct CloseArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};

bool read_entry(archive* reader, const std::string& name, const std::string& shown,
                const std::string& field, const DocumentVisitor& visit) {
  Splitter splitter(name, field, visit);
  std::vector<char> block(kBlock);
  for (;;) {
    const la_ssize_t got = archive_read_data(reader, block.data(), block.size());
    if (got < 0) fail("data: cannot read {}: {}", shown, archive_error_string(reader));
    if (got == 0) return splitter.finish();
    if (!splitter.feed({block.data(), static_cast<size_t>(got)})) return false;
  }
}

bool read_file(const std::string& file, const std::string& field, const DocumentVisitor& visit) {
  const std::unique_ptr<archive, CloseArchive> reader(archive_read_new());
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_zip(reader.get());
  archive_read_support_format_raw(reader.get());
  archive_read_support_format_empty(reader.get());
  const int opened = file == "-" ? archive_read_open_fd(reader.get(), 0, kBlock)
                                 : archive_read_open_filename(reader.get(), file.c_str(), kBlock);
  if (opened != ARCHIVE_OK)
    fail("data: cannot read {}: {}", file, archive_error_string(reader.get()));
  archive_entry* entry = nullptr;
  for (;;) {
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return true;
    if (status < ARCHIVE_WARN)
      fail("data: cannot read {}: {}", file, archive_error_string(reader.get()));
    const bool raw = archive_format(reader.get()) == ARCHIVE_FORMAT_RAW;
    const char* inner = archive_entry_pathname_utf8(entry);
    if (!raw && (archive_entry_filetype(entry) != AE_IFREG || !inner || !is_text(inner))) continue;
    const std::string name = raw ? file : inner;
    const std::string shown = raw ? file : fmt::format("{} in {}", inner, file);
    if (!read_entry(reader.get(), name, shown, field, visit)) return false;
  }
}

}  // namespace

void for_each_document(const std::vector<std::string>& inputs, const std::string& jsonl_field,
                       const DocumentVisitor& visit) {
  for (const std::string& file : expand(inputs))
    if (!read_file(file, jsonl_field, visit)) return;
}

int64_t input_bytes(const std::vector<std::string>& inputs) {
  int64_t bytes = 0;
  for (const std::string& file : expand(inputs))
    if (file != "-") bytes += static_cast<int64_t>(fs::file_size(file));
  return bytes;
}

}  // namespace strobe
