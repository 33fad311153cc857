// strobe import, strobe export: models from and to other programs.
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/train/interchange.h"

namespace strobe {

namespace {

int run_import(const ImportOptions& options) {
  const ImportResult result = import_huggingface(
      options, [](const std::string& word) { fmt::print(stderr, "strobe: {}\n", word); });
  fmt::print("{}: {}, {} parameters of {} tensors\n", options.out, result.kind, result.parameters,
             result.tensors);
  return 0;
}

int run_export(const std::string& format, const ExportOptions& options) {
  if (format != "huggingface") fail("export: --format {} is unknown; huggingface is known", format);
  if (options.largest_shard < 0)
    fail("export: --shard-bytes {} is not 0 or more", options.largest_shard);
  fmt::print("{}: the weights of {}\n", options.out, export_huggingface(options));
  return 0;
}

}  // namespace

Verb verb_import() {
  return {"import", "Make a run of a Hugging Face model's folder",
          "strobe import gpt2/ --out runs/gpt2 && strobe generate runs/gpt2 --prompt 'The river'",
          [](Options& options) {
            auto o = std::make_shared<ImportOptions>();
            options.value(o->from, "folder", "config.json, model.safetensors and tokenizer files",
                          Options::required);
            options.value(o->out, "--out", "the run folder to make", Options::required);
            options.value(
                o->tokenizer, "--tokenizer",
                "another tokenizer than the folder's: gpt2:DIR, bert:DIR, tokenizer.json");
            return [o] { return run_import(*o); };
          }};
}

Verb verb_export() {
  return {"export", "Write a run as a folder that transformers loads",
          "strobe export runs/mine --out mine-hf", [](Options& options) {
            auto o = std::make_shared<ExportOptions>();
            auto format = std::make_shared<std::string>("huggingface");
            options.value(o->run, "run", "run folder", Options::required);
            options.value(o->out, "--out", "the folder to make", Options::required);
            options.value(*format, "--format", "what to write; huggingface is all there is");
            options.value(o->largest_shard, "--shard-bytes",
                          "split the weights into files of at most so many bytes, or of one tensor "
                          "that is larger; 0: one file");
            return [=] { return run_export(*format, *o); };
          }};
}

}  // namespace strobe
