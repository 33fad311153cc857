// What matrix optimizers do before and after they direct an update: momentum, and its application.
// Several matrices of one shape go in one launch, whose rows may be apart: queries, keys and values
// are columns of one parameter, and are neither taken apart nor put together by copies.
//
// A block takes a tile of one matrix, found in a table that is a kernel parameter.
// Traffic: momentum 16 bytes an element, application 14 with a compute copy; 2 less with u in bf16.
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/update.h"
#include "strobe/cuda/update_quads.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = kUpdateThreads;
constexpr int kTile = kUpdateTile;

struct Matrix {
  float* value;
  bf16* compute;  // null where value is its own compute copy
  const float* grad;
  float* momentum;
  int64_t row;  // elements from one row to the next, of all four
  float lr_scale, weight_decay;
  bool cautious, quads;  // quads: four elements lie together, on 16 bytes
};

struct Matrices {
  static constexpr int kMost = 128;
  Matrix of[kMost];
  int columns;
  int64_t size;  // elements of each

  /// Where element i of a matrix lies.
  __device__ int64_t place(const Matrix& m, int64_t i) const {
    const uint32_t row = static_cast<uint32_t>(i) / static_cast<uint32_t>(columns);
    return row * m.row + (static_cast<uint32_t>(i) - row * static_cast<uint32_t>(columns));
  }
};

/// Calls four(i, place) for the quads of a block's tile, and one(i, place) for single elements.
template <class Four, class One>
__device__ void for_tile(const Matrices& all, const Matrix& m, Four four, One one) {
  const int64_t begin = blockIdx.x * int64_t{kTile}, end = min(all.size, begin + kTile);
  const int64_t quads_end = m.quads ? begin + (end - begin) / kQuad * kQuad : begin;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kQuad; i < quads_end; i += kThreads * kQuad)
    four(i, all.place(m, i));
  for (int64_t i = quads_end + threadIdx.x; i < end; i += kThreads) one(i, all.place(m, i));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    momentum_tiles(const __grid_constant__ Matrices all, T* u, const StepState* state, float beta,
                   bool nesterov) {
  const Matrix& m = all.of[blockIdx.y];
  u += blockIdx.y * all.size;
  const bool halt = state->halt;
  const float scale = state->grad_scale;
  beta = scheduled_beta(beta, {1, state->momentum_scale, 1});
  const auto step = [&](float& moment, float g) {
    g *= scale;
    moment = beta * moment + g;
    return nesterov ? g + beta * moment : moment;
  };
  for_tile(
      all, m,
      [&](int64_t i, int64_t at) {
        if (halt) return store_quad(u + i, Quad{});
        Quad moment = load_quad(m.momentum + at), g = load_quad(m.grad + at);
#pragma unroll
        for (int j = 0; j < kQuad; ++j) g.at[j] = step(moment.at[j], g.at[j]);
        store_quad(m.momentum + at, moment), store_quad(u + i, g);
      },
      [&](int64_t i, int64_t at) {
        u[i] = round_to<T>(halt ? 0.0f : step(m.momentum[at], m.grad[at]));
      });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    apply_tiles(const __grid_constant__ Matrices all, const T* u, const StepState* state) {
  if (state->halt) return;
  const Matrix& m = all.of[blockIdx.y];
  u += blockIdx.y * all.size;
  const RuleElement element = {state->lr * m.lr_scale, m.weight_decay * state->decay_scale,
                               m.cautious};
  for_tile(
      all, m,
      [&](int64_t i, int64_t at) {
        Quad w = load_quad(m.value + at);
        const Quad step = load_quad(u + i);
#pragma unroll
        for (int j = 0; j < kQuad; ++j) descend(w.at[j], step.at[j], element);
        store_quad(m.value + at, w);
        if (m.compute) store_quad(m.compute + at, w);
      },
      [&](int64_t i, int64_t at) {
        float w = m.value[at];
        descend(w, to_float(u[i]), element);
        m.value[at] = w;
        if (m.compute) m.compute[at] = to_bf16(w);
      });
}

/// The rows' distance of all of a target's operands.
int64_t row_of(std::initializer_list<Tensor> operands, int64_t columns) {
  int64_t row = columns;
  for (const Tensor& x : operands)
    if (x) row = x.rank == 2 ? x.strides[0] : columns;
  for (const Tensor& x : operands)
    check(!x || (x.rank == 2 ? x.strides[0] == row && x.strides[1] == 1 : row == columns),
          "update: a matrix's operands have their rows equally far apart");
  return row;
}

Matrix entry_of(const UpdateTarget& target, int64_t columns) {
  Matrix m{};
  m.row = row_of({target.value, target.compute, target.grad, target.state0}, columns);
  m.value = target.value.as<float>(), m.compute = compute_copy(target);
  m.grad = target.grad.as<float>(), m.momentum = target.state0.as<float>();
  m.lr_scale = target.lr_scale, m.weight_decay = target.weight_decay;
  m.cautious = target.cautious;
  return m;
}

/// Operands of one shape as rows and columns: one row where all of them are contiguous.
struct Shape {
  int64_t rows, columns;
};
Shape shape_of(const Tensor& u, std::initializer_list<Tensor> others) {
  bool whole = u.contiguous();
  for (const Tensor& x : others) whole = whole && (!x || x.contiguous());
  check(whole || (u.contiguous() && u.rank == 2), "update: u is contiguous");
  return whole ? Shape{1, u.numel()} : Shape{u.dim(0), u.dim(1)};
}

/// The same operand as a vector where it is taken as one row.
Tensor as_row(Tensor x, const Shape& shape) {
  return x && shape.rows == 1 ? x.reshape({x.numel()}) : x;
}

/// Calls body(table, first element of u, grid) for every few of n matrices.
template <class Body>
void for_tables(const Tensor& u, int64_t n, const Shape& shape,
                std::span<const UpdateTarget> targets, Body body) {
  Matrices table;
  table.columns = static_cast<int>(shape.columns), table.size = shape.rows * shape.columns;
  check(table.size < INT32_MAX, "update: a matrix has too many elements");
  for (int64_t begin = 0; begin < n; begin += Matrices::kMost) {
    const int64_t count = std::min<int64_t>(Matrices::kMost, n - begin);
    for (int64_t i = 0; i < count; ++i) {
      Matrix& m = table.of[i] = entry_of(targets[static_cast<size_t>(begin + i)], shape.columns);
      const bool together = shape.rows == 1 ? n == 1 || table.size % kQuad == 0
                                            : shape.columns % kQuad == 0 && m.row % kQuad == 0;
      m.quads = together && aligned(u.as<char>(), m.value, m.grad, m.momentum) &&
                reinterpret_cast<uintptr_t>(m.compute) % 8 == 0;
    }
    body(table, begin * table.size, dim3(ceil_div(table.size, kTile), count));
  }
}

void check_batch(const Tensor& u, size_t targets) {
  check(u.rank == 3 && u.contiguous() && u.dim(0) == static_cast<int64_t>(targets),
        "update: u is (n, M, N), of as many matrices as there are targets");
}

void run_momentum(const Device& device, Tensor u, int64_t n, const Shape& shape,
                  std::span<const UpdateTarget> targets, float beta, bool nesterov) {
  with_storage(u.dtype, [&](auto storage) {
    using T = decltype(storage);
    for_tables(u, n, shape, targets, [&](const Matrices& table, int64_t first, dim3 grid) {
      momentum_tiles<T><<<grid, kThreads, 0, device.stream>>>(table, u.as<T>() + first,
                                                              device.state, beta, nesterov);
    });
  });
  check_launch("momentum");
}

void run_apply(const Device& device, std::span<const UpdateTarget> targets, Tensor u, int64_t n,
               const Shape& shape) {
  with_storage(u.dtype, [&](auto storage) {
    using T = decltype(storage);
    for_tables(u, n, shape, targets, [&](const Matrices& table, int64_t first, dim3 grid) {
      apply_tiles<T><<<grid, kThreads, 0, device.stream>>>(table, u.as<T>() + first, device.state);
    });
  });
  check_launch("apply_update");
}

}  // namespace

void momentum(const Device& device, Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  check(m.numel() == u.numel() && grad.numel() == u.numel(), "momentum: shapes differ");
  if (u.numel() == 0) return;
  const Shape shape = shape_of(u, {m, grad});
  UpdateTarget target;
  target.grad = as_row(grad, shape), target.state0 = as_row(m, shape);
  run_momentum(device, u, 1, shape, {&target, 1}, beta, nesterov);
}

void apply_update(const Device& device, const UpdateTarget& target, Tensor u) {
  check(target.value.numel() == u.numel(), "apply_update: shapes differ");
  if (u.numel() == 0) return;
  const Shape shape = shape_of(u, {target.value, target.compute});
  UpdateTarget moved = target;
  moved.value = as_row(target.value, shape), moved.compute = as_row(target.compute, shape);
  moved.grad = moved.state0 = Tensor{};
  run_apply(device, {&moved, 1}, u, 1, shape);
}

void momenta(const Device& device, Tensor u, std::span<const UpdateTarget> targets, float beta,
             bool nesterov) {
  check_batch(u, targets.size());
  if (u.numel() == 0) return;
  run_momentum(device, u, u.dim(0), {u.dim(1), u.dim(2)}, targets, beta, nesterov);
}

void apply_updates(const Device& device, std::span<const UpdateTarget> targets, Tensor u) {
  check_batch(u, targets.size());
  if (u.numel() == 0) return;
  run_apply(device, targets, u, u.dim(0), {u.dim(1), u.dim(2)});
}

}  // namespace strobe::cuda
