// Embedding forward and its deterministic backward.
//
// Forward: a thread adds four vectors of eight columns from each table.
// Backward: the rows of dy in the order of their ids (sort_ids.h), cut into slices of equal length.
// A block adds up the rows of each run of equal ids in its slice, in order, and adds the sum to the
// table; a run that crosses slices leaves partial sums, which a second kernel adds in order. So a
// frequent id costs no more time than many rare ones, and the sums depend on nothing but ids.
// Traffic: dy once, each touched row of the table once each way, and partial sums in L2.
#include "strobe/cuda/embedding_loss.h"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/sort_ids.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 256;

// ---- forward -------------------------------------------------------------------------------

template <class T, int kTables>
struct Tables {
  const T* table[kTables];
  const int32_t* ids[kTables];
  int32_t rows[kTables];
};

constexpr int kVectors = 4;  // of a thread, whose loads are under way together

template <class T, int kTables>
__global__ void __launch_bounds__(kThreads)
    look_up(T* y, Tables<T, kTables> tables, int64_t rows, int columns, bool whole) {
  const uint32_t first = blockIdx.x * (kThreads * kVectors) + threadIdx.x;
  VectorPlace place[kVectors];
  int32_t id[kVectors][kTables];
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    place[u] = vector_place(first + u * kThreads, columns);
#pragma unroll
    for (int k = 0; k < kTables; ++k)
      id[u][k] = place[u].row < rows ? tables.ids[k][place[u].row] : 0;
  }
  Packed<T> part[kVectors][kTables];
#pragma unroll
  for (int u = 0; u < kVectors; ++u)
#pragma unroll
    for (int k = 0; k < kTables; ++k) {
      const int column = place[u].column;
      if (id[u][k] < 0 || id[u][k] >= tables.rows[k]) id[u][k] = -1;
      const T* row = tables.table[k] + max(id[u][k], 0) * int64_t{columns};
      part[u][k] = load_packed(row + column, columns - column, whole);
    }
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    if (place[u].row >= rows) return;
    Floats sum{};
#pragma unroll
    for (int k = 0; k < kTables; ++k) {
      const Floats x = unpack(part[u][k]);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) sum[j] += id[u][k] < 0 ? __int_as_float(0x7fffffff) : x[j];
    }
    const int column = place[u].column;
    store_some(y + place[u].row * columns + column, sum, columns - column, whole);
  }
}

template <class T, int kTables>
void launch_look_up(const Device& device, Tensor y, std::span<const EmbeddingTable> tables) {
  const int64_t columns = y.dim(1);
  Tables<T, kTables> all;
  bool whole = columns % kLanes == 0 && aligned(y.data);
  for (int k = 0; k < kTables; ++k) {
    check(tables[k].table.dim(1) == columns && tables[k].ids.numel() == y.dim(0) &&
              tables[k].table.dtype == y.dtype,
          "embedding_forward: shapes differ");
    all.table[k] = tables[k].table.as<T>(), all.ids[k] = tables[k].ids.as<int32_t>();
    all.rows[k] = static_cast<int32_t>(tables[k].table.dim(0));
    whole = whole && aligned(all.table[k]);
  }
  const int64_t blocks = ceil_div(count_vectors(y.dim(0), columns), kThreads * kVectors);
  look_up<<<blocks, kThreads, 0, device.stream>>>(y.as<T>(), all, y.dim(0),
                                                  static_cast<int>(columns), whole);
}

// ---- backward ------------------------------------------------------------------------------

constexpr int kSlice = 32;  // entries that a block holds at a time
constexpr int kAhead = 4;   // rows whose loads are under way together

// Adds the rows of one slice. Partial sums: [slice][0] of the run that began in an earlier slice,
// [slice][1] of the one that goes on in the next and began here.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_slices(float* dtable, float* partial, const T* dy, const int2* sorted, int64_t n,
               int table_rows, int columns, int64_t slice, bool whole) {
  __shared__ int2 entries[kSlice + 1];
  const int64_t begin = blockIdx.x * slice, end = min(n, begin + slice);
  const int column = (blockIdx.y * kThreads + static_cast<int>(threadIdx.x)) * kLanes;
  const int count = columns - column;
  const int32_t before = begin > 0 ? sorted[begin - 1].x : -1;
  const int32_t after = end < n ? sorted[end].x : -1;
  Floats sum{};
  for (int64_t from = begin; from < end; from += kSlice) {
    const int here = static_cast<int>(min(int64_t{kSlice}, end - from));
    __syncthreads();
    // One entry more, to see where runs end; they all end with the slice.
    for (int i = threadIdx.x; i <= kSlice; i += blockDim.x)
      entries[i] = from + i < end ? sorted[from + i] : int2{-1, 0};
    __syncthreads();
    if (count <= 0) continue;
    for (int i = 0; i < here; i += kAhead) {
      Packed<T> rows[kAhead];
      Floats old[kAhead];
      bool ends[kAhead], local[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        ends[k] = local[k] = false;
        if (i + k >= here) continue;
        const int2 entry = entries[i + k];
        rows[k] = load_packed(dy + entry.y * int64_t{columns} + column, count, whole);
        ends[k] = entries[i + k + 1].x != entry.x && entry.x != table_rows;
        local[k] = ends[k] && entry.x != before && entry.x != after;
        if (local[k])
          old[k] = load_some(dtable + entry.x * int64_t{columns} + column, count, whole);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (i + k >= here) continue;
        const int32_t id = entries[i + k].x;
        const Floats row = unpack(rows[k]);
#pragma unroll
        for (int j = 0; j < kLanes; ++j) sum[j] += row[j];
        if (local[k]) {
#pragma unroll
          for (int j = 0; j < kLanes; ++j) sum[j] += old[k][j];
          store_some(dtable + id * int64_t{columns} + column, sum, count, whole);
        } else if (ends[k]) {
          const int64_t part = blockIdx.x * int64_t{2} + (id == before ? 0 : 1);
          store_some(partial + part * columns + column, sum, count, whole);
        }
        if (entries[i + k + 1].x != id) sum = Floats{};
      }
    }
  }
}

// For each slice in which a run begins that goes on in the next: the run's partial sums, in order.
__global__ void __launch_bounds__(kThreads)
    join_slices(float* dtable, const float* partial, const int2* sorted, int64_t n, int table_rows,
                int columns, int64_t slice, bool whole) {
  const int64_t begin = blockIdx.x * slice, end = begin + slice;
  if (end >= n) return;
  const int32_t id = sorted[end - 1].x;
  if (id == table_rows || sorted[end].x != id || (begin > 0 && sorted[begin - 1].x == id)) return;
  const int column = (blockIdx.y * kThreads + static_cast<int>(threadIdx.x)) * kLanes;
  const int count = columns - column;
  if (count <= 0) return;
  Floats sum = load_some(partial + (blockIdx.x * int64_t{2} + 1) * columns + column, count, whole);
#pragma unroll 4
  for (int64_t at = end; at < n && sorted[at].x == id; at += slice) {
    const Floats more = load_some(partial + at / slice * 2 * columns + column, count, whole);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) sum[j] += more[j];
  }
  float* to = dtable + id * int64_t{columns} + column;
  const Floats old = load_some(to, count, whole);
#pragma unroll
  for (int j = 0; j < kLanes; ++j) sum[j] += old[j];
  store_some(to, sum, count, whole);
}

}  // namespace

void embedding_forward(const Device& device, Tensor y, std::span<const EmbeddingTable> tables) {
  check(!tables.empty() && tables.size() <= 3, "embedding_forward: takes one to three tables");
  if (y.numel() == 0) return;
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    if (tables.size() == 1)
      launch_look_up<T, 1>(device, y, tables);
    else if (tables.size() == 2)
      launch_look_up<T, 2>(device, y, tables);
    else
      launch_look_up<T, 3>(device, y, tables);
  });
  check_launch("embedding_forward");
}

void embedding_backward(const Device& device, Tensor dtable, Tensor dy, Tensor ids) {
  const int64_t n = dy.dim(0), columns = dy.dim(1), rows = dtable.dim(0);
  check(dtable.dim(1) == columns && ids.numel() == n && dtable.dtype == DType::f32,
        "embedding_backward: shapes differ");
  if (dy.numel() == 0) return;
  const int64_t sorting = ceil_div(sort_ids_bytes(n, rows), 256) * 256;
  const int64_t slice = slice_entries(n, columns, device.scratch_bytes - sorting);
  const int64_t slices = ceil_div(n, slice);
  check(sorting + slices * 8 * columns <= device.scratch_bytes,
        "embedding_backward: scratch is too small");
  const int2* sorted = sort_ids(device, ids.as<int32_t>(), n, rows);
  float* partial = reinterpret_cast<float*>(device.scratch + sorting);
  const int64_t vectors = ceil_div(columns, kLanes);
  const int threads = static_cast<int>(std::min<int64_t>(kThreads, ceil_div(vectors, 32) * 32));
  const dim3 grid(slices, ceil_div(vectors, kThreads));
  const bool whole = columns % kLanes == 0 && aligned(dtable.data, dy.data);
  with_storage(dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    add_slices<<<grid, threads, 0, device.stream>>>(dtable.as<float>(), partial, dy.as<T>(), sorted,
                                                    n, static_cast<int>(rows),
                                                    static_cast<int>(columns), slice, whole);
  });
  join_slices<<<grid, threads, 0, device.stream>>>(dtable.as<float>(), partial, sorted, n,
                                                   static_cast<int>(rows),
                                                   static_cast<int>(columns), slice, whole);
  check_launch("embedding_backward");
}

}  // namespace strobe::cuda
