#include "strobe/data/corpora.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>

#include "strobe/core/error.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;

struct CorpusSplit {
  const char* name;
  std::vector<const char*> files;  // any one of them
  int64_t words;                   // the official count, 0 if there is none
};

struct Corpus {
  const char* name;
  const char* published;
  const char* licence;
  std::vector<CorpusSplit> splits;
};

constexpr const char* wikipedia_licence = "CC BY-SA (text of Wikipedia)";

// Merity, Xiong, Bradbury, Socher, "Pointer Sentinel Mixture Models", 2016, table 2; the counts
// hold a word <eos> for each line end.
const std::vector<Corpus>& corpora() {
  static const std::vector<Corpus> all = {
      {"wikitext-2",
       "https://huggingface.co/datasets/Salesforce/wikitext (wikitext-2-v1), formerly "
       "wikitext-2-v1.zip",
       wikipedia_licence,
       {{"train", {"wiki.train.tokens"}, 2'088'628},
        {"valid", {"wiki.valid.tokens"}, 217'646},
        {"test", {"wiki.test.tokens"}, 245'569}}},
      {"wikitext-103",
       "https://huggingface.co/datasets/Salesforce/wikitext (wikitext-103-v1), formerly "
       "wikitext-103-v1.zip",
       wikipedia_licence,
       {{"train", {"wiki.train.tokens"}, 103'227'021},
        {"valid", {"wiki.valid.tokens"}, 217'646},
        {"test", {"wiki.test.tokens"}, 245'569}}},
      {"demo",
       "the PyPI wheel gensim; tools/demo_text.py makes the files from it",
       wikipedia_licence,
       {{"train", {"train.txt"}, 0}, {"valid", {"valid.txt"}, 0}, {"test", {"test.txt"}, 0}}},
  };
  return all;
}

const Corpus& find(const std::string& name) {
  for (const Corpus& corpus : corpora())
    if (name == corpus.name) return corpus;
  const std::vector<std::string> names = corpus_names();
  const std::string near = nearest(name, names.data(), names.size());
  fail("data prepare: there is no corpus '{}'{}; there are {}", name,
       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), fmt::join(names, ", "));
}

// `file`, plain or compressed, in `folder`; "" if it is not there.
std::string file_in(const std::string& folder, const std::string& file) {
  for (const char* ending : {"", ".xz", ".gz", ".zst", ".bz2"})
    if (std::string path = folder + "/" + file + ending; fs::exists(path)) return path;
  return "";
}

}  // namespace

std::vector<std::string> corpus_names() {
  std::vector<std::string> names;
  for (const Corpus& corpus : corpora()) names.emplace_back(corpus.name);
  return names;
}

PrepareOptions named_corpus(const std::string& name, const std::string& from) {
  const Corpus& corpus = find(name);
  std::vector<std::string> wanted;
  for (const CorpusSplit& split : corpus.splits) wanted.emplace_back(split.files.front());
  if (from.empty())
    fail("data prepare: --from PATH says where the files of {} are ({}); they are published at {}",
         name, fmt::join(wanted, ", "), corpus.published);

  PrepareOptions out;
  out.corpus = name;
  out.licence = corpus.licence;
  for (const CorpusSplit& split : corpus.splits) {
    if (split.words == 0) continue;
    out.line_ends_are_words = true;
    SplitInfo official;
    official.name = split.name, official.words = split.words;
    out.official.push_back(official);
  }
  if (!fs::exists(from)) fail("data prepare: --from {}: there is no such file or folder", from);
  if (!fs::is_directory(from)) {  // an archive with all of them
    out.text.paths = {from};
    return out;
  }
  std::vector<std::string> missing;
  for (const CorpusSplit& split : corpus.splits) {
    std::string found;
    for (const char* file : split.files)
      if (found.empty()) found = file_in(from, file);
    if (found.empty())
      missing.emplace_back(split.files.front());
    else
      out.text.paths.push_back(found);
  }
  if (!missing.empty())
    fail("data prepare: {} lacks {} of {}; the corpus is published at {}", from,
         fmt::join(missing, ", "), name, corpus.published);
  return out;
}

}  // namespace strobe
