// Every verb of the command line.
#pragma once

#include <vector>

#include "apps/verb.h"

namespace strobe {

Verb verb_train();
Verb verb_resume();
Verb verb_eval();
Verb verb_generate();
Verb verb_finetune();
Verb verb_glue();
Verb verb_predict();
Verb verb_fill();
Verb verb_import();
Verb verb_export();
Verb verb_tensors();
Verb verb_data_info();
Verb verb_data_prepare();
Verb verb_study_run();
Verb verb_study_report();
Verb verb_study_trials();
Verb verb_study_best();
Verb verb_study_ask();
Verb verb_tokenizer_train();
Verb verb_tokenizer_encode();
Verb verb_tokenizer_decode();
Verb verb_bench_attention();
Verb verb_bench_gemm();
Verb verb_bench_ops();
Verb verb_bench_step();
Verb verb_report();
Verb verb_list();
Verb verb_doctor();

inline std::vector<Verb> all_verbs() {
  return {
      verb_train(),
      verb_resume(),
      verb_eval(),
      verb_generate(),
      verb_finetune(),
      verb_glue(),
      verb_predict(),
      verb_fill(),
      verb_import(),
      verb_export(),
      verb_tensors(),
      verb_data_prepare(),
      verb_data_info(),
      verb_study_run(),
      verb_study_report(),
      verb_study_trials(),
      verb_study_best(),
      verb_study_ask(),
      verb_tokenizer_train(),
      verb_tokenizer_encode(),
      verb_tokenizer_decode(),
      verb_bench_attention(),
      verb_bench_gemm(),
      verb_bench_ops(),
      verb_bench_step(),
      verb_report(),
      verb_list(),
      verb_doctor(),
  };
}

}  // namespace strobe
