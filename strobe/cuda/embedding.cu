// Embedding forward and its deterministic backward.
//
// Forward: a warp adds up a row of each table.
// Backward: the rows of dy in the order of their ids (sort_ids.h), cut into slices of equal length.
// A block adds up the rows of each run of equal ids in its slice, in order, and adds the sum to the
// table; a run that crosses slices leaves partial sums, which a second kernel adds in order. So a
// frequent id costs no more time than many rare ones, and the sums depend on nothing but ids.
// Tables of a row or two are summed by columns, a pass a row. Traffic: dy once, each touched row of
// the table once each way, and partial sums in L2.
#include "strobe/cuda/column_sums.h"
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

constexpr int kWarps = kThreads / kWarp;
constexpr int kVectors = 3;  // of a thread, whose loads are under way together

template <class T, int kTables>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 && kTables < 3 ? 5 : 2)
    look_up(T* y, Tables<T, kTables> tables, int64_t rows, int columns, bool whole) {
  const int64_t row = blockIdx.x * int64_t{kWarps} + warp_id();
  if (row >= rows) return;
  const T* from[kTables];
  bool known = true;
#pragma unroll
  for (int k = 0; k < kTables; ++k) {
    const int32_t id = tables.ids[k][row];
    known = known && id >= 0 && id < tables.rows[k];
    from[k] = tables.table[k] + id * int64_t{columns};
  }
  T* const to = y + row * columns;
  if (!known || !whole) {
    for (int i = lane_id(); i < columns; i += kWarp) {
      float sum = known ? 0.0f : __int_as_float(0x7fffffff);
      for (int k = 0; k < kTables && known; ++k) sum += to_float(from[k][i]);
      to[i] = round_to<T>(sum);
    }
    return;
  }
  for (int first = lane_id() * kLanes; first < columns; first += kVectors * kWarp * kLanes) {
    Packed<T> part[kVectors][kTables];
#pragma unroll
    for (int u = 0; u < kVectors; ++u)
#pragma unroll
      for (int k = 0; k < kTables; ++k)
        if (const int column = first + u * kWarp * kLanes; column < columns)
          part[u][k] = load(from[k] + column);
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
      const int column = first + u * kWarp * kLanes;
      if (column >= columns) break;
      Floats sum = unpack(part[u][0]);
#pragma unroll
      for (int k = 1; k < kTables; ++k) {
        const Floats x = unpack(part[u][k]);
#pragma unroll
        for (int j = 0; j < kLanes; ++j) sum[j] += x[j];
      }
      store(to + column, pack<T>(sum));
    }
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
  const int64_t blocks = ceil_div(y.dim(0), kWarps);
  look_up<<<blocks, kThreads, 0, device.stream>>>(y.as<T>(), all, y.dim(0),
                                                  static_cast<int>(columns), whole);
}

// ---- backward ------------------------------------------------------------------------------

constexpr int kSlice = 32;  // entries that a block holds at a time
constexpr int kAhead = 4;   // rows whose loads are under way together

// Adds the rows of one slice. Partial sums: [slice][0] of the run that began in an earlier slice,
// [slice][1] of the one that goes on in the next and began here.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 2)
    add_slices(float* dtable, float* partial, const T* dy, const int2* sorted, int n,
               int table_rows, int columns, int slice) {
  __shared__ int2 entries[kSlice + 1];
  const int begin = blockIdx.x * slice, end = min(n, begin + slice);
  const int column = (blockIdx.y * kThreads + static_cast<int>(threadIdx.x)) * kLanes;
  const int count = columns - column;
  const int32_t before = begin > 0 ? sorted[begin - 1].x : -1;
  const int32_t after = end < n ? sorted[end].x : -1;
  Floats sum{};
  for (int from = begin; from < end; from += kSlice) {
    const int here = min(kSlice, end - from);
    __syncthreads();
    // One entry more, to see where runs end; they all end with the slice.
    for (int i = threadIdx.x; i <= kSlice; i += blockDim.x)
      entries[i] = from + i < end ? sorted[from + i] : int2{-1, 0};
    __syncthreads();
    if (count <= 0) continue;
    const auto ends = [&](int i) { return entries[i].x != entries[i + 1].x; };
    // Whether the run that ends with entry i lies in this slice alone.
    const auto local = [&](int i) {
      const int id = entries[i].x;
      return ends(i) && id != before && id != after && id != table_rows;
    };
    for (int i = 0; i < here; i += kAhead) {
      Packed<T> rows[kAhead];
      Packed<float> old[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (i + k >= here) continue;
        const int2 entry = entries[i + k];
        rows[k] = load_packed(dy + entry.y * int64_t{columns} + column, count, kWhole);
        if (local(i + k))
          old[k] = load_packed(dtable + entry.x * int64_t{columns} + column, count, kWhole);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (i + k >= here) continue;
        const int id = entries[i + k].x;
        const Floats row = unpack(rows[k]);
#pragma unroll
        for (int j = 0; j < kLanes; ++j) sum[j] += row[j];
        if (!ends(i + k)) continue;
        if (local(i + k)) {
          const Floats more = unpack(old[k]);
#pragma unroll
          for (int j = 0; j < kLanes; ++j) sum[j] += more[j];
          store_some(dtable + id * int64_t{columns} + column, sum, count, kWhole);
        } else if (id != table_rows) {
          const int64_t part = blockIdx.x * int64_t{2} + (id == before ? 0 : 1);
          store_some(partial + part * columns + column, sum, count, kWhole);
        }
        sum = Floats{};
      }
    }
  }
}

// For each slice in which a run begins that goes on in the next: the run's partial sums, in order.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    join_slices(float* dtable, const float* partial, const int2* sorted, int n, int table_rows,
                int columns, int slice) {
  const int begin = blockIdx.x * slice, end = begin + slice;
  if (end >= n) return;
  const int32_t id = sorted[end - 1].x;
  if (id == table_rows || sorted[end].x != id || (begin > 0 && sorted[begin - 1].x == id)) return;
  const int column = (blockIdx.y * kThreads + static_cast<int>(threadIdx.x)) * kLanes;
  const int count = columns - column;
  // How many slices the run goes on for: 32 of them are asked at a time.
  int further = 0;
  for (unsigned alike = kFullWarp; alike == kFullWarp;) {
    const int64_t at = end + (further + lane_id()) * int64_t{slice};
    alike = __ballot_sync(kFullWarp, at < n && sorted[at].x == id);
    further += __popc(alike);
  }
  if (count <= 0) return;
  float* const to = dtable + id * int64_t{columns} + column;
  const Floats old = load_some(to, count, kWhole);
  partial += blockIdx.x * int64_t{2} * columns + column;
  Floats sum = load_some(partial + columns, count, kWhole);
  constexpr int kParts = 8;  // whose loads are under way together
  for (int i = 1; i <= further; i += kParts) {
    Packed<float> parts[kParts];
#pragma unroll
    for (int k = 0; k < kParts; ++k)
      if (i + k <= further)
        parts[k] = load_packed(partial + (i + k) * int64_t{2} * columns, count, kWhole);
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      if (i + k > further) break;
      const Floats part = unpack(parts[k]);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) sum[j] += part[j];
    }
  }
#pragma unroll
  for (int j = 0; j < kLanes; ++j) sum[j] += old[j];
  store_some(to, sum, count, kWhole);
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
  // A run of half of all rows, as types of tokens make, would be joined slice by slice.
  constexpr int64_t kFewRows = 2;
  if (rows <= kFewRows && column_sums_bytes(n, columns) <= device.scratch_bytes) {
    for (int32_t id = 0; id < rows; ++id)
      column_sums(device, dtable.rows(id, id + 1), dy, {.ids = ids.as<int32_t>(), .id = id},
                  device.scratch);
    return;
  }
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
    const auto kernel = whole ? add_slices<T, true> : add_slices<T, false>;
    kernel<<<grid, threads, 0, device.stream>>>(dtable.as<float>(), partial, dy.as<T>(), sorted,
                                                static_cast<int>(n), static_cast<int>(rows),
                                                static_cast<int>(columns), static_cast<int>(slice));
  });
  const auto join = whole ? join_slices<true> : join_slices<false>;
  join<<<grid, threads, 0, device.stream>>>(dtable.as<float>(), partial, sorted,
                                            static_cast<int>(n), static_cast<int>(rows),
                                            static_cast<int>(columns), static_cast<int>(slice));
  check_launch("embedding_backward");
}

}  // namespace strobe::cuda
