#include "strobe/data/text_table.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/data/archive.h"
#include "strobe/data/unicode.h"

namespace strobe {

namespace {

using Json = nlohmann::json;
using Format = TableOptions::Format;

constexpr const char* kStandardInput = "-";
constexpr size_t kLargestFile = size_t{4} << 30;

Format format_of(const std::string& file) {
  if (file == kStandardInput) return Format::jsonl;
  std::string name = file;
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::filesystem::path path(name);
  for (const char* packed : {".gz", ".bz2", ".xz", ".zst"})
    if (path.extension() == packed) path = path.stem();
  const std::string ending = path.extension().string();
  if (ending == ".tsv") return Format::tsv;
  if (ending == ".csv") return Format::csv;
  if (ending == ".jsonl") return Format::jsonl;
  fail("data: {} is of no known kind; .tsv, .csv and .jsonl are, also compressed", file);
}

std::string read_all(const std::string& file) {
  ArchiveReader reader(file);
  if (!reader.next()) fail("data: {} is empty", file);
  std::string text;
  std::vector<char> buffer(1 << 20);
  while (const size_t got = reader.read(buffer.data(), buffer.size())) {
    text.append(buffer.data(), got);
    if (text.size() > kLargestFile) fail("data: {} has more than {} bytes", file, kLargestFile);
  }
  if (reader.next()) fail("data: {} holds several files; one is accepted", file);
  return text;
}

}  // namespace

class TextTable::Reader {
 public:
  Reader(TextTable& out, const std::vector<std::string>& columns, const TableOptions& options)
      : out_(out),
        wanted_(columns),
        options_(options),
        format_(options.format == Format::by_name ? format_of(out.file_) : options.format),
        text_(read_all(out.file_)) {
    if (out_.file_ == kStandardInput) out_.file_ = "standard input";
    if (text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF"))
      fail("data: {} is UTF-16; UTF-8 is accepted", out_.file_);
    for (const size_t bad : {find_ill_formed(text_), text_.find('\0')})
      if (bad < text_.size())
        fail("data: {}, line {}: the byte {:#04x} is no part of UTF-8 text", out_.file_,
             1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(bad), '\n'),
             static_cast<uint8_t>(text_[bad]));
    rest_ = text_;
    if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
    if (rest_.find('\n') == rest_.npos && rest_.find('\r') < rest_.size() - 1)
      fail("data: {}: its lines end with CR alone; LF and CRLF are accepted", out_.file_);
    out_.columns_ = columns.size();
  }

  void read() {
    if (format_ == Format::jsonl)
      while (wants_more()) read_object();
    else
      read_rows(format_ == Format::csv);
    if (out_.rows() == 0) fail("data: {} has no row of data", out_.file_);
  }

 private:
  bool wants_more() const {
    return !rest_.empty() && (options_.most_rows == 0 || out_.rows() < options_.most_rows);
  }

  [[noreturn]] void fail_here(const std::string& what) const {
    fail("data: {}, line {}: {}", out_.file_, line_, what);
  }

  std::string_view take_line() {
    ++next_line_;
    const size_t size = std::min(rest_.find('\n'), rest_.size());
    std::string_view line = rest_.substr(0, size);
    rest_.remove_prefix(std::min(size + 1, rest_.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  // The fields of the next row.
  void take_row(bool quoted) {
    line_ = next_line_;
    row_.clear();
    if (quoted) return take_quoted_row();
    std::string_view line = take_line();
    while (true) {
      const size_t tab = std::min(line.find('\t'), line.size());
      row_.emplace_back(line.substr(0, tab));
      if (tab == line.size()) return;
      line.remove_prefix(tab + 1);
    }
  }

  void take_quoted_row() {
    std::string_view line = take_line();
    while (true) {
      std::string field;
      if (line.starts_with('"')) {
        const int64_t opened = next_line_ - 1;
        line.remove_prefix(1);
        while (true) {
          const size_t mark = line.find('"');
          if (mark == line.npos) {
            if (rest_.empty())
              fail("data: {}, line {}: a quotation mark is opened and not closed", out_.file_,
                   opened);
            // The line's end, as it stands in the file, is part of the field.
            const bool carriage = line.data() + line.size() < rest_.data() - 1;
            field.append(line).append(carriage ? "\r\n" : "\n");
            line = take_line();
            continue;
          }
          field.append(line.substr(0, mark));
          line.remove_prefix(mark + 1);
          if (!line.starts_with('"')) break;
          field += '"';
          line.remove_prefix(1);
        }
        if (!line.empty() && line[0] != ',')
          fail("data: {}, line {}: something follows a closing quotation mark", out_.file_,
               next_line_ - 1);
      } else {
        const size_t comma = std::min(line.find(','), line.size());
        field = line.substr(0, comma);
        if (field.find('"') != field.npos)
          fail("data: {}, line {}: a quotation mark inside a field that does not begin with one",
               out_.file_, next_line_ - 1);
        line.remove_prefix(comma);
      }
      row_.push_back(std::move(field));
      if (line.empty()) return;
      line.remove_prefix(1);
    }
  }

  void read_rows(bool quoted) {
    if (rest_.empty()) fail("data: {} is empty", out_.file_);
    std::vector<std::string> names;
    if (options_.header) {
      take_row(quoted);
      names = row_;
      for (size_t i = 0; i < names.size(); ++i)
        if (!names[i].empty() && std::find(names.begin(), names.begin() + static_cast<ptrdiff_t>(i),
                                           names[i]) != names.begin() + static_cast<ptrdiff_t>(i))
          fail_here(fmt::format("the column '{}' stands twice", brief(names[i])));
      find_columns(names);
    }
    size_t width = names.size();
    while (wants_more()) {
      take_row(quoted);
      if (row_.size() == 1 && row_[0].empty() && width != 1) continue;  // a blank line
      if (width == 0) {
        width = row_.size();
        for (size_t i = 1; i <= width; ++i) names.push_back(std::to_string(i));
        find_columns(names);
      }
      if (row_.size() != width) {
        if (!options_.skip_broken_rows)
          fail_here(fmt::format("{} field{}, the {} has {}{}", row_.size(),
                                row_.size() == 1 ? "" : "s",
                                options_.header ? "header" : "first row", width,
                                quoted || row_.size() < width
                                    ? ""
                                    : "; a .tsv file has no quoting: a tab always ends a field"));
        if (out_.skipped_++ == 0) out_.first_skipped_ = line_;
        continue;
      }
      for (const size_t column : places_) out_.fields_.push_back(row_[column]);
      out_.lines_.push_back(line_);
    }
  }

  // What a header of one name says of the file's kind.
  static std::string other_separator(const std::string& name) {
    for (const auto& [separator, what] :
         {std::pair<char, const char*>{'\t', "tabs"}, {',', "commas"}, {';', "semicolons"}})
      if (name.find(separator) != name.npos)
        return fmt::format(
            "; it has {} in it: columns are divided by commas in a .csv and by tabs "
            "in a .tsv",
            what);
    return "";
  }

  void find_columns(const std::vector<std::string>& names) {
    for (const std::string& name : wanted_) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        const std::string near = nearest(name, names.data(), names.size());
        fail_here(fmt::format("no column '{}'{}; there {} {}{}", name,
                              near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                              names.size() == 1 ? "is" : "are",
                              brief(fmt::format("{}", fmt::join(names, ", "))),
                              names.size() == 1 ? other_separator(names[0]) : ""));
      }
      places_.push_back(static_cast<size_t>(found - names.begin()));
    }
  }

  void read_object() {
    line_ = next_line_;
    const std::string_view line = take_line();
    if (line.find_first_not_of(" \t") == line.npos) return;
    const Json object = parse_json("data", fmt::format("{}, line {}", out_.file_, line_), line);
    if (!object.is_object())
      fail_here(fmt::format("it holds {}; an object is accepted", shown(object)));
    for (const std::string& name : wanted_) {
      const Json& value = member(object, name.c_str());
      if (value.is_null() || value.is_structured())
        fail_here(fmt::format("\"{}\" is {}; a text, a number or true and false are accepted", name,
                              object.contains(name) ? shown(value) : "missing"));
      out_.fields_.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    out_.lines_.push_back(line_);
  }

  TextTable& out_;
  const std::vector<std::string>& wanted_;
  const TableOptions& options_;
  const Format format_;
  std::string text_;
  std::string_view rest_;
  int64_t line_ = 1, next_line_ = 1;
  std::vector<std::string> row_;
  std::vector<size_t> places_;  // of the wanted columns
};

TextTable TextTable::read(const std::string& file, const std::vector<std::string>& columns,
                          const TableOptions& options) {
  TextTable out;
  out.file_ = file;
  Reader(out, columns, options).read();
  return out;
}

std::string TextTable::place(size_t row) const {
  return fmt::format("{}, line {}", file_, lines_[row]);
}

}  // namespace strobe
