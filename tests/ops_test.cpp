// Every op against its meaning in double precision: tests/reference/op_table.cpp has one row an op.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "strobe/core/threads.h"
#include "strobe/cpu/isa_select.h"
#include "tests/reference/backends.h"
#include "tests/reference/op_table.h"

namespace strobe {
namespace {

using namespace reference;

constexpr size_t kGuard = 64;  // bytes behind every operand that no op may touch
constexpr uint8_t kGuardByte = 0xa5;

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 17}, {37, 100}, {5, 1031}, {261, 416}};
const Size kManyRows = {2081, 1568};  // where a GPU's own products take over from the library's
const Size kLarge = {301, 768};       // cut into several pieces by every op

DType storage(Type type, DType dtype) {
  if (type == Type::ids) return DType::i32;
  return type == Type::f32 ? DType::f32 : dtype;
}

double load(const Tensor& x, int64_t i) {
  switch (x.dtype) {
    case DType::f32: return x.as<float>()[i];
    case DType::bf16: return to_float(x.as<bf16>()[i]);
    default: return x.as<int32_t>()[i];
  }
}

void store(const Tensor& x, int64_t i, double value) {
  switch (x.dtype) {
    case DType::f32: x.as<float>()[i] = static_cast<float>(value); break;
    case DType::bf16: x.as<bf16>()[i] = to_bf16(static_cast<float>(value)); break;
    default: x.as<int32_t>()[i] = static_cast<int32_t>(value);
  }
}

// The operands of one call: inputs random, outputs poisoned with NaN.
class Call {
 public:
  Call(const OpRow& row, Size size, DType dtype) : row_(row) {
    arrays_.dtype = dtype;
    std::mt19937 random(static_cast<unsigned>(size.rows * 1000 + size.columns));
    for (const Operand& operand : row.operands(size.rows, size.columns)) {
      const int64_t n = operand.rows * operand.columns;
      const DType type = storage(operand.type, dtype);
      auto& memory = memory_[operand.name];
      memory.assign(static_cast<size_t>(n * size_of(type)) + kGuard, kGuardByte);
      const Tensor tensor(memory.data(), type, {operand.rows, operand.columns});
      Array array(operand.rows, operand.columns);
      for (int64_t i = 0; i < n; ++i) {
        store(tensor, i, value_for(operand, random));
        array[i] = load(tensor, i);
      }
      if (operand.role == Role::in_out || operand.role == Role::out)
        outputs_.push_back(operand.name);
      operands_.of[operand.name] = tensor;
      arrays_.of[operand.name] = std::move(array);
    }
  }

  /// Makes `output` the same memory as `input`, with the input's values.
  void alias(const std::string& output, const std::string& input) { aliases_[output] = input; }

  void run(Backend& ops, bool composed = false) {
    ops.set_step_state(test_state());
    std::map<std::string, Tensor> places;  // memory with its guard, as bytes
    Operands operands = operands_;
    for (auto& [name, memory] : memory_) {
      const auto bytes = static_cast<int64_t>(memory.size());
      const Tensor place(ops.allocate(bytes), DType::u8, {bytes});
      ops.upload(place, memory.data());
      operands.of[name].data = place.data;
      places[name] = place;
    }
    for (const auto& [output, input] : aliases_) {
      operands.of[output] = operands.of[input];
      operands_.of[output] = operands_.of[input];
    }
    (composed ? row_.composed : row_.run)(ops, operands);
    for (auto& [name, memory] : memory_) {
      ops.download(memory.data(), places[name]);
      ops.release(places[name].data);
      for (size_t i = memory.size() - kGuard; i < memory.size(); ++i)
        ASSERT_EQ(memory[i], kGuardByte) << row_.name << " writes past the end of " << name;
    }
  }

  /// Compares the outputs with the row's meaning.
  void check() {
    Arrays expected = arrays_;
    row_.meaning(expected, test_state());
    for (const std::string& name : outputs_) {
      const Tensor got = operands_[name];
      const Array& want = expected[name];
      double largest = 0;
      for (const double x : want.values) largest = std::max(largest, std::abs(x));
      const bool rounded = got.dtype == DType::bf16;
      const bool loose = row_.intermediates && arrays_.dtype == DType::bf16;
      for (int64_t i = 0; i < want.size(); ++i) {
        const double tolerance =
            (rounded ? 0x1.02p-8 : 0x1p-23) * std::abs(want[i]) + row_.noise * 0x1p-24 * largest +
            1e-30 + (loose ? row_.intermediate_noise * 0x1p-8 * (std::abs(want[i]) + largest) : 0);
        ASSERT_TRUE(std::abs(load(got, i) - want[i]) <= tolerance)  // false for NaN
            << row_.name << ": " << name << "[" << i << "] is " << load(got, i) << ", not "
            << want[i] << " (tolerance " << tolerance << ", " << to_string(got) << ")";
      }
    }
  }

  /// The bits of all outputs.
  std::vector<uint8_t> bits() const {
    std::vector<uint8_t> all;
    for (const std::string& name : outputs_) {
      const Tensor x = operands_[name];
      all.insert(all.end(), x.as<uint8_t>(), x.as<uint8_t>() + x.bytes());
    }
    return all;
  }

  Arrays& arrays() { return arrays_; }

 private:
  static double value_for(const Operand& operand, std::mt19937& random) {
    if (operand.role == Role::out || operand.role == Role::scratch)
      return operand.type == Type::ids ? -1 : std::numeric_limits<double>::quiet_NaN();
    if (operand.type == Type::ids)
      return std::uniform_int_distribution<int64_t>(operand.signed_ids ? -1 : 0,
                                                    operand.id_limit - 1)(random);
    const double x = std::normal_distribution<double>()(random);
    return operand.positive ? std::abs(x) : x;
  }

  const OpRow& row_;
  std::map<std::string, std::vector<uint8_t>> memory_;
  std::map<std::string, std::string> aliases_;
  Operands operands_;  // over memory_, which a run copies to the device and back
  Arrays arrays_;
  std::vector<std::string> outputs_;
};

std::vector<DType> types_of(const OpRow& row) {
  if (row.only_f32) return {DType::f32};
  return {DType::f32, DType::bf16};
}

// From the widest down: oneDNN keeps the set of its first product (ops_masked covers the others).
std::vector<cpu::Isa> instruction_sets() {
  std::vector<cpu::Isa> all;
  for (int i = static_cast<int>(cpu::isa()); i >= 0; --i) all.push_back(static_cast<cpu::Isa>(i));
  return all;
}

struct OnBackend {
  std::string backend;
  OpRow row;
};

void PrintTo(const OnBackend& test, std::ostream* stream) {
  *stream << test.row.name << " on " << test.backend;
}

class Ops : public testing::TestWithParam<OnBackend> {
 protected:
  void SetUp() override {
    STROBE_NEEDS_BACKEND(GetParam().backend);
    ops_ = shared_backend(GetParam().backend);
  }
  ~Ops() override {
    set_threads(0);
    cpu::set_isa(isa_);
  }
  const cpu::Isa isa_ = cpu::isa();
  Backend* ops_ = nullptr;
};

class OpsInPlace : public Ops {};   // where an output may be an input
class FusedOps : public Ops {};     // where a default composition exists
class BackwardOps : public Ops {};  // where the row has the forward that it differentiates

TEST_P(Ops, MeanWhatTheReferenceSays) {
  const OpRow& row = GetParam().row;
  std::vector<cpu::Isa> sets = instruction_sets();
  std::vector<Size> sizes(std::begin(kSizes), std::end(kSizes));
  if (ops_->info().kind != "cpu") {
    sets.resize(1);
    if (row.name.starts_with("linear_")) sizes.push_back(kManyRows);
  }
  for (const cpu::Isa isa : sets) {
    cpu::set_isa(isa);
    SCOPED_TRACE(cpu::name_of(isa));
    for (const DType dtype : types_of(row))
      for (const Size size : sizes) {
        if (size.columns < row.least_columns) continue;
        Call call(row, size, dtype);
        ASSERT_NO_FATAL_FAILURE(call.run(*ops_));
        ASSERT_NO_FATAL_FAILURE(call.check());
      }
  }
}

// On a GPU: at any repetition.
TEST_P(Ops, GiveTheSameBitsForAnyNumberOfThreads) {
  const OpRow& row = GetParam().row;
  for (const DType dtype : types_of(row)) {
    std::vector<uint8_t> first;
    for (const int count : {1, 2, 3}) {
      set_threads(count);
      Call call(row, kLarge, dtype);
      ASSERT_NO_FATAL_FAILURE(call.run(*ops_));
      if (count == 1)
        first = call.bits();
      else
        ASSERT_EQ(call.bits(), first) << row.name << " with " << count << " threads";
    }
  }
}

TEST_P(OpsInPlace, GiveTheSameBits) {
  const OpRow& row = GetParam().row;
  for (const DType dtype : types_of(row))
    for (const auto& [output, input] : row.may_alias) {
      Call apart(row, kSizes[2], dtype), together(row, kSizes[2], dtype);
      together.alias(output, input);
      ASSERT_NO_FATAL_FAILURE(apart.run(*ops_));
      ASSERT_NO_FATAL_FAILURE(together.run(*ops_));
      EXPECT_EQ(apart.bits(), together.bits()) << output << " = " << input;
    }
}

TEST_P(FusedOps, AgreeWithTheirComposition) {
  const OpRow& row = GetParam().row;
  for (const DType dtype : types_of(row)) {
    Call call(row, kSizes[2], dtype);
    ASSERT_NO_FATAL_FAILURE(call.run(*ops_, /*composed=*/true));
    ASSERT_NO_FATAL_FAILURE(call.check());
  }
}

TEST_P(BackwardOps, DifferentiateTheirForward) {
  const OpRow& row = GetParam().row;
  Call call(row, {3, 17}, DType::f32);
  Arrays backward = call.arrays();
  const StepState state = test_state();
  row.meaning(backward, state);
  const auto loss = [&](Arrays arrays) {
    const Array dy = arrays["dy"], y = row.forward(arrays, state);
    double sum = 0;
    for (int64_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  for (const auto& [gradient, input] : row.gradients)
    for (int64_t i = 0; i < backward[input].size(); ++i) {
      constexpr double kStep = 1e-5;
      Arrays above = call.arrays(), below = call.arrays();
      above[input][i] += kStep, below[input][i] -= kStep;
      const double slope = (loss(above) - loss(below)) / (2 * kStep);
      const double before = call.arrays()[gradient][i];  // NaN unless it accumulates
      const double got = backward[gradient][i] - (std::isnan(before) ? 0 : before);
      ASSERT_TRUE(std::abs(got - slope) <= 1e-6 * (1 + std::abs(slope)))
          << gradient << "[" << i << "] is " << got << ", not " << slope;
    }
}

std::string name_of_row(const testing::TestParamInfo<OnBackend>& info) {
  return info.param.row.name;
}

template <class Wanted>
auto rows_on(const std::string& backend, Wanted wanted) {
  std::vector<OnBackend> rows;
  for (const OpRow& row : op_table())
    if (wanted(row)) rows.push_back({backend, row});
  return testing::ValuesIn(rows);
}

bool any(const OpRow&) { return true; }
bool aliases(const OpRow& row) { return !row.may_alias.empty(); }
bool composes(const OpRow& row) { return row.composed != nullptr; }
bool differentiates(const OpRow& row) { return row.forward != nullptr; }

INSTANTIATE_TEST_SUITE_P(Cpu, Ops, rows_on("cpu", any), name_of_row);
INSTANTIATE_TEST_SUITE_P(Cuda, Ops, rows_on("cuda", any), name_of_row);
INSTANTIATE_TEST_SUITE_P(Cpu, OpsInPlace, rows_on("cpu", aliases), name_of_row);
INSTANTIATE_TEST_SUITE_P(Cuda, OpsInPlace, rows_on("cuda", aliases), name_of_row);
INSTANTIATE_TEST_SUITE_P(Cpu, FusedOps, rows_on("cpu", composes), name_of_row);
INSTANTIATE_TEST_SUITE_P(Cuda, FusedOps, rows_on("cuda", composes), name_of_row);
INSTANTIATE_TEST_SUITE_P(Reference, BackwardOps, rows_on("cpu", differentiates), name_of_row);

}  // namespace
}  // namespace strobe
