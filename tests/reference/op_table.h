// One row an op: its operands, how to call it, and what it means in double precision.
#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "strobe/ops/backend.h"
#include "tests/reference/arrays.h"

namespace strobe::reference {

enum class Type { activation, f32, ids };      // activation: the storage type under test
enum class Role { in, out, in_out, scratch };  // scratch: written, and not compared

struct Operand {
  std::string name;
  Role role;
  int64_t rows, columns;
  Type type = Type::activation;
  int64_t id_limit = 0;  // ids are drawn from [-1, limit) if `signed_ids`, else from [0, limit)
  bool signed_ids = false;
  bool positive = false;
};

struct Operands {
  std::map<std::string, Tensor> of;
  Tensor operator[](const std::string& name) const { return of.at(name); }
  /// The operand as a vector.
  Tensor flat(const std::string& name) const {
    const Tensor x = of.at(name);
    return x.reshape({x.numel()});
  }
};

struct OpRow {
  std::string name;
  /// The operands for a size (rows, columns); columns stands for channels or vocabulary.
  std::function<std::vector<Operand>(int64_t rows, int64_t columns)> operands;
  std::function<void(Backend&, const Operands&)> run;
  std::function<void(Arrays&, const StepState&)> meaning;
  /// Pairs (output, input) that may be one tensor.
  std::vector<std::pair<std::string, std::string>> may_alias = {};
  /// The default composition, where the op is a fused one.
  std::function<void(Backend&, const Operands&)> composed = nullptr;
  /// For a backward: the forward that it differentiates, which writes an array of dy's shape, and
  /// pairs (gradient, input).
  std::function<Array(Arrays&, const StepState&)> forward = nullptr;
  std::vector<std::pair<std::string, std::string>> gradients = {};
  /// Only in f32, where activations are not involved.
  bool only_f32 = false;
  /// Rounding noise that the largest element may carry, in units of f32's epsilon.
  double noise = 16;
  /// Intermediate results are rounded to the storage type, at places where a tie may fall either
  /// way: outputs may be off by one such rounding.
  bool intermediates = false;
  /// What of these roundings an output may be off by, in units of storage's.
  double intermediate_noise = 1;
  /// Fewer columns make the op degenerate: its result is 0 in exact arithmetic.
  int64_t least_columns = 1;
};

/// What GoogleTest prints for a row.
inline void PrintTo(const OpRow& row, std::ostream* stream) { *stream << row.name; }

const std::vector<OpRow>& op_table();

void add_normalisation(std::vector<OpRow>& table);
void add_ends(std::vector<OpRow>& table);
void add_updates(std::vector<OpRow>& table);
void add_matrix_batches(std::vector<OpRow>& table);

/// The state that every row runs under.
StepState test_state();

}  // namespace strobe::reference
