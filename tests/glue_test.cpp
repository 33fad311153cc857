// Tables of texts, GLUE's files and metrics. What other programs make of them is in
// tests/data/glue_cases.json (tools/make_glue_fixtures.py).
#include "strobe/data/glue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/scores.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using reference::error_of;
using Json = nlohmann::json;

const std::string data = STROBE_SOURCE_DIR "/tests/data/";
const std::string glue_folder = STROBE_SOURCE_DIR "/../shared/data/glue";

const Json& cases() {
  static const Json json =
      Json::parse(read_file("test", data + "glue_cases.json", int64_t{1} << 30));
  return json;
}

void write(const std::string& file, const std::string& text) {
  fs::create_directories(fs::path(file).parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

TEST(Scores, EqualScikitLearnAndScipy) {
  const std::map<std::string, double (*)(std::span<const float>, std::span<const float>)> metrics =
      {{"accuracy", accuracy},
       {"f1", f1},
       {"matthews", matthews},
       {"pearson", pearson},
       {"spearman", spearman}};
  ASSERT_EQ(cases()["metrics"].size(), 100u);
  for (const Json& row : cases()["metrics"]) {
    const auto predicted = row["predicted"].get<std::vector<float>>();
    const auto labels = row["labels"].get<std::vector<float>>();
    for (const auto& [name, compute] : metrics) {
      if (!row.contains(name)) continue;
      const double found = compute(predicted, labels);
      if (row[name].is_null())
        EXPECT_TRUE(std::isnan(found)) << name << " " << row;
      else
        EXPECT_NEAR(found, row[name].get<double>(), 1e-9) << name << " " << row;
    }
  }
  const std::vector<float> none;
  EXPECT_THROW(accuracy(none, none), std::logic_error);
  const std::vector<float> bad = {1, NAN}, good = {1, 2};
  EXPECT_TRUE(std::isnan(spearman(bad, good)));
  EXPECT_TRUE(std::isnan(pearson(bad, good)));
}

TEST(EncodeExample, TruncatesAsHuggingFaceDoes) {
  const Tokenizer tokenizer = Tokenizer::load(data + "wordpiece_hf.json");
  ASSERT_EQ(cases()["pairs"].size(), 300u);
  for (const Json& row : cases()["pairs"]) {
    const bool pair = row[1].size() == 2;
    const Example example{row[1][0], pair ? row[1][1].get<std::string>() : "", 0};
    const EncodedExample encoded = encode_example(tokenizer, example, pair, row[0].get<int64_t>());
    EXPECT_EQ(encoded.ids, row[2].get<std::vector<int32_t>>()) << row;
    EXPECT_EQ(encoded.first_size, row[3].get<int32_t>()) << row;
  }
  EXPECT_THROW(encode_example(tokenizer, {"a", "", 0}, false, 2), Error);
  EXPECT_THROW(encode_example(tokenizer, {"a", "b", 0}, true, 4), Error);
  const Tokenizer bpe = Tokenizer::load(data + "tokenizer_hf.json");
  EXPECT_THROW(encode_example(bpe, {"a", "", 0}, false, 10), Error);
}

TEST(TextTable, ReadsCsvAsPythonDoes) {
  const reference::TemporaryFolder folder;
  ASSERT_EQ(cases()["csv"].size(), 200u);
  for (const Json& row : cases()["csv"]) {
    write(folder.file("t.csv"), row[0].get<std::string>());
    std::vector<std::string> columns;
    for (size_t i = 0; i < row[1][0].size(); ++i) columns.push_back(fmt::format("c{}", i));
    const TextTable table = TextTable::read(folder.file("t.csv"), columns);
    ASSERT_EQ(table.rows(), row[1].size()) << row[0];
    for (size_t i = 0; i < table.rows(); ++i)
      for (size_t j = 0; j < columns.size(); ++j)
        EXPECT_EQ(table.at(i, j), row[1][i][j].get<std::string>()) << row[0];
  }
}

TEST(TextTable, ReadsEachFormat) {
  const reference::TemporaryFolder folder;
  write(folder.file("a.tsv"), "\xEF\xBB\xBFid\ttext\n1\tsaid \"yes\r\n\n2\t\"no\" é");
  TextTable table = TextTable::read(folder.file("a.tsv"), {"text", "id"});
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.at(0, 0), "said \"yes");
  EXPECT_EQ(table.at(1, 0), "\"no\" é");
  EXPECT_EQ(table.at(1, 1), "2");
  EXPECT_EQ(table.line(1), 4);
  EXPECT_EQ(table.place(0), folder.file("a.tsv") + ", line 2");

  write(folder.file("b.jsonl"),
        "{\"text\": \"a\\tb\", \"label\": 1}\n\n{\"label\": true, \"text\": \"c\", \"x\": []}\n");
  table = TextTable::read(folder.file("b.jsonl"), {"text", "label"});
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.at(0, 0), "a\tb");
  EXPECT_EQ(table.at(0, 1), "1");
  EXPECT_EQ(table.at(1, 1), "true");

  write(folder.file("c.txt"), "x\ty\nz\tw\n");
  table = TextTable::read(folder.file("c.txt"), {"2"},
                          {.format = TableOptions::Format::tsv, .header = false});
  EXPECT_EQ(table.at(0, 0), "y");
  EXPECT_EQ(table.at(1, 0), "w");

  write(folder.file("d.tsv"), "a\tb\n1\n1\t2\n1\t2\t3\n");
  table = TextTable::read(
      folder.file("d.tsv"), {"b"},
      {.format = TableOptions::Format::tsv, .header = true, .skip_broken_rows = true});
  EXPECT_EQ(table.rows(), 1u);
  EXPECT_EQ(table.skipped(), 2);
  EXPECT_EQ(table.first_skipped(), 2);
}

TEST(TextTable, RefusesWhatIsMalformed) {
  struct Bad {
    std::string name, text, message;
  };
  const std::vector<Bad> table = {
      {"t.tsv", "", "is empty"},
      {"t.tsv", "a\tb\n", "no row of data"},
      {"t.tsv", "a\tb\n1\t2\n1\n", "line 3: 1 field, the header has 2"},
      {"t.tsv", "a\tb\n1\t2\t3\n",
       "line 2: 3 fields, the header has 2; a .tsv file has no quoting"},
      {"t.tsv", "a\tc\n1\t2\n", "line 1: no column 'b'"},
      {"t.tsv", "a\tb\r1\t2\r", "its lines end with CR alone"},
      {"t.tsv", "b\tb\n1\t2\n", "line 1: the column 'b' stands twice"},
      {"t.tsv", "a\tb\n1\tcaf\xe9\n", "line 2: the byte 0xe9 is no part of UTF-8"},
      {"t.tsv", "a\tb\n1\t\xed\xa0\x80\n", "line 2: the byte 0xed"},
      {"t.tsv", std::string("a\tb\n1\t2\n1\t\0\n", 13), "line 3: the byte 0x00"},
      {"t.tsv",
       "\xff\xfe"
       "a\0",
       "is UTF-16"},
      {"t.csv", "a,b\n1,\"2\n3,4\n", "line 2: a quotation mark is opened and not closed"},
      {"t.csv", "a,b\n1,\"2\" \n", "line 2: something follows a closing quotation mark"},
      {"t.csv", "a,b\n1,2\"\n", "line 2: a quotation mark inside a field"},
      {"t.csv", "a,b\n\"1\n2\",3\n4\n", "line 4: 1 field, the header has 2"},
      {"t.csv", "\"a,b\n1,2\n", "line 1: a quotation mark is opened"},
      {"t.jsonl", "{\"b\": 1}\n{\"b\": \n", "line 2 is not JSON"},
      {"t.jsonl", "[1]\n", "line 1: it holds [1]; an object"},
      {"t.jsonl", "{\"a\": 1}\n", "line 1: \"b\" is missing"},
      {"t.jsonl", "{\"b\": null}\n", "line 1: \"b\" is null"},
      {"t.jsonl", "{\"b\": [1]}\n", "line 1: \"b\" is [1]"},
      {"t.jsonl", "{\"b\": 1, \"b\": 2}\n", "\"b\" stands twice"},
      {"t.jsonl", std::string(1000, '[') + "\n", "nested more than"},
      {"t.jsonl", "\n\n", "no row of data"},
      {"t.parquet", "PAR1", "of no known kind"},
      {"t.csv", "a;b\n1;2\n", "there is a;b; it has semicolons in it: columns are divided by"},
      {"T.TSV", "a,c\n1,2\n", "there is a,c; it has commas in it"},
      {"T.CSV.GZ", "a;c\n1;2\n", "there is a;c; it has semicolons in it"},
  };
  const reference::TemporaryFolder folder;
  for (const Bad& row : table) {
    write(folder.file(row.name), row.text);
    const std::string message = error_of([&] { TextTable::read(folder.file(row.name), {"b"}); });
    EXPECT_NE(message.find(row.message), std::string::npos) << row.text << ": " << message;
    EXPECT_TRUE(message.starts_with("data: ")) << message;
  }
  EXPECT_NE(error_of([&] { TextTable::read(folder.file("none.tsv"), {"b"}); }), "accepted");
  write(folder.file("t.tsv"), "sentence\tlabel\n1\t2\n");
  EXPECT_NE(error_of([&] {
              TextTable::read(folder.file("t.tsv"), {"sentense"});
            }).find("(did you mean 'sentence'?); there are sentence, label"),
            std::string::npos);
}

// Whatever bytes a file has, it is read or refused.
TEST(TextTable, SurvivesDamage) {
  const reference::TemporaryFolder folder;
  const std::string texts[] = {"a,b\n1,\"x, \"\"y\"\"\nz\"\r\n2,w\n", "a\tb\n1\tx\r\n2\ty\n",
                               "{\"a\": \"1\", \"b\": \"\\u00e9\"}\n{\"a\": 2, \"b\": false}\n"};
  const char* names[] = {"t.csv", "t.tsv", "t.jsonl"};
  for (size_t kind = 0; kind < 3; ++kind)
    for (size_t bit = 0; bit < texts[kind].size() * 8; ++bit) {
      std::string damaged = texts[kind];
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      for (const std::string& text : {damaged, texts[kind].substr(0, bit / 8)}) {
        write(folder.file(names[kind]), text);
        try {
          TextTable::read(folder.file(names[kind]), {"a", "b"});
        } catch (const Error&) {
        }
      }
    }
}

TEST(Examples, TakeClassesAndScoresFromAnyFile) {
  const reference::TemporaryFolder folder;
  write(folder.file("t.csv"), "text,label\ngood,pos\nbad,neg\nfine,pos\n");
  Examples examples = read_examples(folder.file("t.csv"), {.texts = {"text"}, .label = "label"});
  EXPECT_EQ(examples.classes, (std::vector<std::string>{"neg", "pos"}));
  EXPECT_EQ(examples.rows[0].label, 1);
  EXPECT_FALSE(examples.pairs);
  EXPECT_NE(error_of([&] {
              read_examples(
                  folder.file("t.csv"),
                  {.texts = {"text"}, .label = "label", .regression = false, .classes = {"pos"}});
            }).find("line 3: the label 'neg' is none of pos"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              read_examples(folder.file("t.csv"),
                            {.texts = {"text"}, .label = "label", .regression = true});
            }).find("line 2: the label 'pos' is no number"),
            std::string::npos);
  write(folder.file("u.tsv"), "a\tb\tscore\nx\ty\t2.5\nz\tw\t1e0\n");
  examples = read_examples(folder.file("u.tsv"),
                           {.texts = {"a", "b"}, .label = "score", .regression = true});
  EXPECT_TRUE(examples.regression() && examples.pairs);
  EXPECT_EQ(examples.rows[1].second, "w");
  EXPECT_EQ(examples.rows[0].label, 2.5f);
  for (const char* label : {"+1.5", " 1.5", "1.5 "}) {
    write(folder.file("u.tsv"), fmt::format("a\tscore\nx\t{}\n", label));
    examples =
        read_examples(folder.file("u.tsv"), {.texts = {"a"}, .label = "score", .regression = true});
    EXPECT_EQ(examples.rows[0].label, 1.5f) << label;
  }
  for (const char* label : {"", " ", "nan", "inf", "1,5", "0x1", "3 4", "+", "+-1", "++1"}) {
    write(folder.file("u.tsv"), fmt::format("a\tscore\nx\t{}\n", label));
    EXPECT_THROW(
        read_examples(folder.file("u.tsv"), {.texts = {"a"}, .label = "score", .regression = true}),
        Error)
        << label;
  }
  const std::tuple<const char*, const char*, const char*> unfit[] = {
      {"w.tsv", "text\tlabel\na\tx\nb\tx\n", "every 'label' is 'x'; a classifier takes two"},
      {"w.tsv", "text\tlabel\na\tx\nb\t \nc\ty\n", "line 3: no 'label'"},
      {"w.jsonl",
       "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 1.0}\n"
       "{\"text\": \"c\", \"label\": 0}\n",
       "line 2: the labels '1' and '1.0' are one number"},
      {"w.csv", "text,label\na,1\nb, 1\nc,2\n",
       "line 2: the labels ' 1' and '1' differ in blanks alone"},
      {"w.csv", "text,label\na,x\nb,x \n", "line 3: the labels 'x' and 'x ' differ in blanks"}};
  for (const auto& [name, text, part] : unfit) {
    write(folder.file(name), text);
    reference::expect_fails(
        [&] { read_examples(folder.file(name), {.texts = {"text"}, .label = "label"}); }, part);
  }
  std::string many = "text\tlabel\n";
  for (int i = 0; i < 1001; ++i) many += fmt::format("x\t{}\n", i);
  write(folder.file("v.tsv"), many);
  EXPECT_NE(error_of([&] {
              read_examples(folder.file("v.tsv"), {.texts = {"text"}, .label = "label"});
            }).find("more than 1000 different labels"),
            std::string::npos);
}

TEST(Examples, OfAColumnAskedForTwiceAreRefused) {
  const reference::TemporaryFolder folder;
  write(folder.file("t.tsv"), "a\tb\nx\ty\n");
  for (const auto& [texts, label] :
       {std::pair<std::vector<std::string>, std::string>{{"a"}, "a"}, {{"a", "a"}, "b"}})
    reference::expect_fails(
        [&] { read_examples(folder.file("t.tsv"), {.texts = texts, .label = label}); },
        "the column 'a' is asked for twice");
}

TEST(Examples, HoldOutAShare) {
  Examples all;
  all.classes = {"a", "b"};
  for (int i = 0; i < 95; ++i) all.rows.push_back({std::to_string(i), "", 0});
  const auto [rest, held] = hold_out(all, 0.1, 7);
  EXPECT_EQ(held.rows.size(), 10u);
  EXPECT_EQ(rest.rows.size(), 85u);
  std::set<std::string> seen;
  for (const Examples* part : {&rest, &held}) {
    EXPECT_EQ(part->classes, all.classes);
    int last = -1;
    for (const Example& row : part->rows) {
      EXPECT_GT(std::stoi(row.first), last);
      last = std::stoi(row.first);
      seen.insert(row.first);
    }
  }
  EXPECT_EQ(seen.size(), 95u);
  EXPECT_EQ(hold_out(all, 0.1, 7).second.rows[3].first, held.rows[3].first);
  const auto other = hold_out(all, 0.1, 8).second;
  EXPECT_FALSE(std::equal(held.rows.begin(), held.rows.end(), other.rows.begin(),
                          [](const auto& a, const auto& b) { return a.first == b.first; }));
  all.rows.resize(2);
  EXPECT_EQ(hold_out(all, 0.01, 1).second.rows.size(), 1u);
  all.rows.resize(1);
  EXPECT_THROW(hold_out(all, 0.1, 1), Error);
}

TEST(Glue, ReadsTheOfficialLayouts) {
  const reference::TemporaryFolder folder;
  write(folder.file("CoLA/train.tsv"), "gj04\t1\t\tA sentence.\ngj04\t0\t*\tA \"other.\n");
  write(folder.file("CoLA/test.tsv"), "index\tsentence\n0\tOne.\n1\tTwo.\n");
  const GlueTask& cola = glue_task("cola");
  GlueSplit split = read_glue(folder.path(), cola, "train");
  ASSERT_EQ(split.examples.rows.size(), 2u);
  EXPECT_EQ(split.examples.rows[1].first, "A \"other.");
  EXPECT_EQ(split.examples.rows[0].label, 1);
  EXPECT_TRUE(split.subset) << "two rows are not those that were published";
  EXPECT_EQ(read_glue(folder.file("CoLA"), cola, "test").examples.rows[1].first, "Two.");
  const auto upload = [&](const char* name, const char* of, const std::vector<float>& predicted) {
    return glue_upload(glue_task(name), read_glue(folder.path(), glue_task(name), of), predicted);
  };
  EXPECT_EQ(upload("cola", "test", {1, 0}), "index\tprediction\n0\t1\n1\t0\n");
  EXPECT_THROW(upload("cola", "test", {1}), std::logic_error);
  EXPECT_NE(error_of([&] { read_glue(folder.path(), cola, "dev"); }).find("has no dev.tsv"),
            std::string::npos);
  EXPECT_NE(error_of([&] { read_glue(folder.path(), cola, "devel"); }).find("no split 'devel'"),
            std::string::npos);

  write(folder.file("MNLI/dev_matched.tsv"),
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tcontradiction\n");
  write(folder.file("MNLI/test_mismatched.tsv"), "index\tsentence1\tsentence2\n9\ta\tb\n");
  const GlueTask& mnli = glue_task("mnli");
  EXPECT_EQ(read_glue(folder.path(), mnli, "dev").examples.rows[0].label, 2);
  EXPECT_EQ(upload("mnli", "test-mismatched", {1}), "index\tprediction\n9\tneutral\n");
  write(folder.file("MNLI/train-9k.tsv"), "sentence1\tsentence2\tgold_label\na\tb\tneutral\n");
  EXPECT_TRUE(read_glue(folder.path(), mnli, "train").subset);
  EXPECT_TRUE(read_glue(folder.path(), mnli, "train", 1).subset);
  write(folder.file("MNLI/train-1k.tsv"), "sentence1\tsentence2\tgold_label\na\tb\tneutral\n");
  EXPECT_THROW(read_glue(folder.path(), mnli, "train"), Error);

  // A part of one development set is none of the other.
  fs::remove(folder.file("MNLI/dev_matched.tsv"));
  const std::string row = "sentence1\tsentence2\tgold_label\na\tb\tneutral\n";
  write(folder.file("MNLI/dev-mismatched-1k.tsv"), row);
  EXPECT_FALSE(has_glue(folder.path(), mnli, "dev"));
  EXPECT_THROW(read_glue(folder.path(), mnli, "dev"), Error);
  EXPECT_TRUE(has_glue(folder.path(), mnli, "dev-mismatched"));
  write(folder.file("MNLI/dev-1k.tsv"), row);
  EXPECT_TRUE(read_glue(folder.path(), mnli, "dev").file.ends_with("dev-1k.tsv"));
  fs::remove(folder.file("MNLI/dev-mismatched-1k.tsv"));
  EXPECT_FALSE(has_glue(folder.path(), mnli, "dev-mismatched"));

  write(folder.file("QQP/train.tsv"),
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t1\n4\t5\tbroken\n");
  // A look at the first row finds what is wrong with a file's columns, and reads no further.
  write(folder.file("QQP/dev.tsv"),
        "id\tquestion1\tquestion2\tis_duplicate\n1\ta\tb\t1\n2\ta\tb\tx\n");
  EXPECT_EQ(read_glue(folder.path(), glue_task("qqp"), "dev", 1).examples.rows.size(), 1u);
  EXPECT_THROW(read_glue(folder.path(), glue_task("qqp"), "dev"), Error);
  write(folder.file("QQP/dev.tsv"), "id\tquestion1\tquestion2\n1\ta\tb\n");
  EXPECT_THROW(read_glue(folder.path(), glue_task("qqp"), "dev", 1), Error);
  split = read_glue(folder.path(), glue_task("qqp"), "train");
  EXPECT_EQ(split.examples.rows.size(), 1u);
  EXPECT_EQ(split.skipped, 1);
  write(folder.file("QQP/test.tsv"), "id\tquestion1\tquestion2\n0\ta\tb\n1\ta\n");
  EXPECT_NE(error_of([&] { read_glue(folder.path(), glue_task("qqp"), "test"); }).find("line 3"),
            std::string::npos)
      << "each row of a test takes a prediction";

  write(folder.file("STS-B/test.tsv"), "index\tsentence1\tsentence2\n0\ta\tb\n1\ta\tb\n2\ta\tb\n");
  EXPECT_EQ(upload("stsb", "test", {5.2f, -1.0f, 2.34567f}),
            "index\tprediction\n0\t5.000\n1\t0.000\n2\t2.346\n");
  write(folder.file("diagnostic/diagnostic.tsv"), "index\tsentence1\tsentence2\n0\ta\tb\n");
  EXPECT_EQ(upload("ax", "test", {2}), "index\tprediction\n0\tcontradiction\n");
  EXPECT_THROW(read_glue(folder.path(), glue_task("ax"), "train"), Error);
  EXPECT_NE(error_of([] { glue_task("sst-2"); }).find("did you mean 'sst2'?"), std::string::npos);
  EXPECT_NE(error_of([] { read_glue("/no/such", glue_task("rte"), "dev"); }).find("/no/such"),
            std::string::npos);
}

TEST(Glue, ScoresByTheTasksMetrics) {
  const std::vector<float> predicted = {1, 1, 0, 1}, labels = {1, 0, 0, 1};
  const GlueScores mrpc = glue_scores(glue_task("mrpc"), predicted, labels);
  ASSERT_EQ(mrpc.metrics.size(), 2u);
  EXPECT_EQ(mrpc.metrics[0].first, "f1");
  EXPECT_NEAR(mrpc.metrics[0].second, 0.8, 1e-12);
  EXPECT_NEAR(mrpc.metrics[1].second, 0.75, 1e-12);
  EXPECT_NEAR(mrpc.mean, 0.775, 1e-12);
}

TEST(Glue, HasTheRowsThatArePublished) {
  if (!fs::exists(glue_folder)) GTEST_SKIP() << "SKIPPED: GLUE is not at " << glue_folder;
  const std::tuple<const char*, const char*, size_t> table[] = {
      {"cola", "train", 8551},  {"cola", "dev", 1043},   {"cola", "test", 1063},
      {"sst2", "train", 67349}, {"sst2", "dev", 872},    {"sst2", "test", 1821},
      {"mrpc", "train", 3668},  {"mrpc", "dev", 408},    {"mrpc", "test", 1725},
      {"stsb", "train", 5749},  {"stsb", "dev", 1500},   {"stsb", "test", 1379},
      {"rte", "train", 2490},   {"rte", "dev", 277},     {"rte", "test", 3000},
      {"wnli", "train", 635},   {"wnli", "dev", 71},     {"wnli", "test", 146},
      {"qnli", "dev", 5463},    {"qnli", "test", 5463},  {"ax", "test", 1104},
      {"qnli", "train", 8999},  {"mnli", "train", 8999}, {"qqp", "train", 8999}};
  for (const auto& [name, split, rows] : table) {
    const GlueTask& task = glue_task(name);
    const GlueSplit found = read_glue(glue_folder, task, split);
    EXPECT_EQ(found.examples.rows.size(), rows) << name << " " << split;
    EXPECT_EQ(found.subset, rows == 8999) << name << " " << split;
    EXPECT_EQ(found.skipped, 0);
    if (std::string(split) == "test") {
      const std::string upload = glue_upload(task, found, std::vector<float>(rows, 1.0f));
      EXPECT_EQ(static_cast<size_t>(std::count(upload.begin(), upload.end(), '\n')), rows + 1);
    }
  }
}

}  // namespace
}  // namespace strobe
