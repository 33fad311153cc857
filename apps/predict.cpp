// strobe predict, strobe fill: what a fine-tuned BERT says of texts, and a masked LM of gaps.
#include <algorithm>
#include <memory>
#include <optional>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/study/child.h"
#include "strobe/train/finetune.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace {

constexpr const char* kPrecisionHelp = "f32, bf16 or auto; the run's unless given";

struct PredictOptions {
  std::string run, text_column, pair_column, precision;
  std::optional<std::string> text, pair, file;
  bool json = false;
};

std::string name_of_class(const std::vector<std::string>& classes, size_t number) {
  return number < classes.size() ? classes[number] : fmt::format("{}", number);
}

void print_text(Reader& reader, const Example& example, bool pair, const PredictOptions& options) {
  const std::vector<float> values = reader.read(example, pair);
  const std::vector<std::string> classes = reader.classes();
  if (reader.config().model.head == "none") {
    const std::string list = fmt::format("{}", fmt::join(values, ", "));
    fmt::print("{}\n", options.json ? fmt::format("{{\"embedding\": [{}]}}", list) : list);
    return;
  }
  if (reader.regression()) {
    fmt::print("{}\n", options.json ? fmt::format("{{\"score\": {}}}", json_number(values[0]))
                                    : fmt::format("{:.4f}", values[0]));
    return;
  }
  std::string body;
  for (size_t i = 0; i < values.size(); ++i)
    body += options.json ? fmt::format("{}{}: {}", body.empty() ? "" : ", ",
                                       json_quote(name_of_class(classes, i)), values[i])
                         : fmt::format("{:<20}  {:.4f}\n", name_of_class(classes, i), values[i]);
  fmt::print("{}", options.json ? fmt::format("{{{}}}\n", body) : body);
}

void say_cut(const Reader& reader) {
  const int64_t cut = reader.cut();
  if (cut > 0)
    fmt::print(stderr, "predict: {} text{} longer than {} tokens and cut\n", cut,
               cut == 1 ? " is" : "s are", reader.config().train.sequence);
}

// Refuses what would be passed over, and texts that are not what the run was trained on.
void check_texts(const PredictOptions& o, const TextsConfig& trained) {
  if (o.text.has_value() == o.file.has_value())
    fail("predict: give either --text TEXT or --file FILE");
  if (o.text && !(o.text_column + o.pair_column).empty())
    fail("predict: columns are a file's, and --text is none; --file FILE has columns");
  if (o.file && o.pair) fail("predict: --pair goes with --text; of a file, --pair-column with it");
  if (trained.train.empty()) return;
  const bool pairs = text_columns(trained).size() == 2;
  if (pairs && o.text && !o.pair)
    fail("predict: {} was trained on pairs; --pair gives the second text", o.run);
  if (!pairs && (o.pair || !o.pair_column.empty()))
    fail("predict: {} was trained on single texts, not on pairs", o.run);
}

int run_predict(const PredictOptions& options) {
  check_texts(options, run_config(options.run).texts);
  Reader reader(options.run, options.precision);
  if (options.text) {
    print_text(reader, {*options.text, options.pair.value_or(""), 0}, options.pair.has_value(),
               options);
    say_cut(reader);
    return 0;
  }
  ExampleColumns columns;
  columns.texts = text_columns(reader.config().texts);
  if (!options.text_column.empty()) columns.texts[0] = options.text_column;
  if (!options.pair_column.empty()) columns.texts.resize(2), columns.texts[1] = options.pair_column;
  columns.regression = reader.regression();
  Examples examples = read_examples(*options.file, columns);
  if (!reader.regression()) examples.classes = {"?"};  // classes, of which no label is known
  catch_stop_signals();
  if (options.json || reader.config().model.head == "none") {
    for (const Example& row : examples.rows) {
      if (stop_requested()) return kInterrupted;
      print_text(reader, row, examples.pairs, options);
    }
    say_cut(reader);
    return 0;
  }
  const std::vector<std::string> classes = reader.classes();
  const Predictions got = reader.predict(examples, stop_requested);
  if (got.stopped) return kInterrupted;  // a part would look like all of it
  for (const float value : got.predicted)
    fmt::print("{}\n", reader.regression() ? fmt::format("{:.4f}", value)
                                           : name_of_class(classes, static_cast<size_t>(value)));
  say_cut(reader);
  return 0;
}

struct FillOptions {
  std::string run, text, precision;
  int64_t most = 5;
};

int run_fill(const FillOptions& options) {
  if (options.most < 1) fail("fill: --top {} is not 1 or more", options.most);
  Reader reader(options.run, options.precision);
  bool first = true;
  for (const auto& words : reader.fill(options.text, options.most)) {
    if (!first) fmt::print("\n");
    first = false;
    for (const Reader::Word& word : words)
      fmt::print("{:<20}  {:.4f}\n", word.text, word.probability);
  }
  return 0;
}

}  // namespace

Verb verb_predict() {
  return {"predict",
          "Classes or scores of texts, by a fine-tuned run; by a BERT without a head, embeddings",
          "strobe predict runs/sst2 --text \"a quiet, well made film\"", [](Options& options) {
            auto o = std::make_shared<PredictOptions>();
            options.value(o->run, "run", "run folder", Options::required);
            options.value(o->text, "--text", "the text");
            options.value(o->pair, "--pair", "the second text of a pair");
            options.value(
                o->file, "--file",
                "texts of a file: .tsv, .csv, .jsonl; '-': JSON lines from standard input");
            options.value(o->text_column, "--text-column",
                          "column of the file; unless given, the one the run was trained on");
            options.value(o->pair_column, "--pair-column",
                          "column of the second texts; unless given, the run's, if it has one");
            options.value(o->precision, "--precision", kPrecisionHelp);
            options.flag(o->json, "--json", "print JSON objects, of a file one a line");
            return [o] { return run_predict(*o); };
          }};
}

Verb verb_fill() {
  return {"fill", "The likeliest words for each [MASK] of a text, by a masked language model",
          "strobe fill runs/bert --text \"The [MASK] flows into the sea.\"", [](Options& options) {
            auto o = std::make_shared<FillOptions>();
            options.value(o->run, "run", "run folder", Options::required);
            options.value(o->text, "--text", "the text", Options::required);
            options.value(o->most, "--top", "words to print for each [MASK]");
            options.value(o->precision, "--precision", kPrecisionHelp);
            return [o] { return run_fill(*o); };
          }};
}

}  // namespace strobe
