#include "strobe/cpu/gemm.h"

#include <omp.h>

#include <array>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/isa/gemm_tiles.h"
#include "strobe/cpu/isa_select.h"
#include "strobe/cpu/kernels.h"

namespace strobe::cpu {

namespace {

// oneDNN divides work, and lays out its scratch memory, by OpenMP's thread count when a product is
// made and when it runs; both must see one thread.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

dnnl::cpu_isa widest_for_onednn() {
  switch (isa()) {
    case Isa::baseline: return dnnl::cpu_isa::sse41;
    case Isa::avx2: return dnnl::cpu_isa::avx2;
    case Isa::avx512: return dnnl::cpu_isa::avx512_core;
    case Isa::avx512_bf16: return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::amx: break;
  }
  return dnnl::cpu_isa::all;
}

// oneDNN fixes its instruction set at its first product, so the one in use then counts.
const dnnl::engine& engine() {
  static const dnnl::engine cpu = [] {
    dnnl::set_max_cpu_isa(widest_for_onednn());
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

dnnl::memory::data_type type_of(const Tensor& x) {
  return x.dtype == DType::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

dnnl::memory::desc describe(const Tensor& x) {
  return {{x.dim(0), x.dim(1)}, type_of(x), {x.strides[0], x.strides[1]}};
}

struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c, bias, scratch;
  bool supported = false;
};

Product make_product(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias,
                     bool accumulate) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  Product product;
  product.a = describe(a), product.b = describe(b), product.c = describe(c);
  if (bias) product.bias = {{1, bias.dim(0)}, type_of(bias), {bias.dim(0), 1}};
  const dnnl::matmul::desc what =
      bias ? dnnl::matmul::desc(product.a, product.b, product.bias, product.c)
           : dnnl::matmul::desc(product.a, product.b, product.c);
  const dnnl::matmul::primitive_desc how(what, attributes, engine(), /*allow_empty=*/true);
  if (!how) return product;
  product.scratch = how.scratchpad_desc();
  product.primitive = dnnl::matmul(how);
  product.supported = true;
  return product;
}

// A tile's primitive, made once a process for each shape, layout and type.
const Product& find_product(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias,
                            bool accumulate) {
  using Key = std::array<int64_t, 11>;
  static std::mutex mutex;
  static std::map<Key, Product> products;
  const int64_t types = static_cast<int64_t>(c.dtype) | static_cast<int64_t>(a.dtype) << 8 |
                        static_cast<int64_t>(bias.dtype) << 16;
  const Key key = {c.dim(0),
                   c.dim(1),
                   a.dim(1),
                   c.strides[0],
                   c.strides[1],
                   a.strides[0],
                   a.strides[1],
                   b.strides[0],
                   b.strides[1],
                   types,
                   (bias ? 2 : 0) | (accumulate ? 1 : 0)};
  const std::lock_guard lock(mutex);
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  return products.emplace(key, make_product(c, a, b, bias, accumulate)).first->second;
}

// Memory of this thread, at least `bytes`, aligned to 64.
char* scratch_memory(int64_t bytes) {
  thread_local std::vector<char> scratch;
  if (static_cast<int64_t>(scratch.size()) < bytes + 64) scratch.resize(bytes + 64);
  return scratch.data() + (-reinterpret_cast<uintptr_t>(scratch.data()) & 63);
}

// Too few rows would not repay the packing of b.
bool fits_tiles(const Tensor& c, const Tensor& a, const Tensor& bias) {
  return isa() == Isa::amx && a.dtype == DType::bf16 && c.strides[1] == 1 && c.dim(0) >= 16 &&
         a.dim(1) >= 32 && (!bias || bias.strides[0] == 1);
}

void run_on_tiles(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias,
                  bool accumulate) {
  const GemmTile tile = {.m = c.dim(0),
                         .n = c.dim(1),
                         .k = a.dim(1),
                         .a = a.as<uint16_t>(),
                         .a_row = a.strides[0],
                         .a_column = a.strides[1],
                         .b = b.as<uint16_t>(),
                         .b_row = b.strides[0],
                         .b_column = b.strides[1],
                         .c = c.data,
                         .c_row = c.strides[0],
                         .c_is_f32 = c.dtype == DType::f32,
                         .bias = bias.data,
                         .bias_is_f32 = bias.dtype == DType::f32,
                         .accumulate = accumulate};
  amx::gemm_tile(tile, scratch_memory(amx::gemm_tile_scratch_bytes(tile.m, tile.n, tile.k)));
}

void run(const Product& product, const Tensor& c, const Tensor& a, const Tensor& b,
         const Tensor& bias) {
  thread_local dnnl::stream stream(engine());
  char* scratch = scratch_memory(static_cast<int64_t>(product.scratch.get_size()));
  std::unordered_map<int, dnnl::memory> operands = {
      {DNNL_ARG_SRC, {product.a, engine(), a.data}},
      {DNNL_ARG_WEIGHTS, {product.b, engine(), b.data}},
      {DNNL_ARG_DST, {product.c, engine(), c.data}},
      {DNNL_ARG_SCRATCHPAD, {product.scratch, engine(), scratch}}};
  if (bias) operands.insert({DNNL_ARG_BIAS, {product.bias, engine(), bias.data}});
  product.primitive.execute(stream, operands);
}

// A copy of a matrix in f32.
struct Copy {
  std::vector<float> data;
  Tensor tensor;
  explicit Copy(const Tensor& x)
      : data(x.numel()), tensor(data.data(), DType::f32, {x.dim(0), x.dim(1)}) {
    for (int64_t i = 0; i < x.dim(0); ++i)
      for (int64_t j = 0; j < x.dim(1); ++j) {
        const int64_t at = i * x.strides[0] + j * x.strides[1];
        data[i * x.dim(1) + j] =
            x.dtype == DType::f32 ? x.as<float>()[at] : to_float(x.as<bf16>()[at]);
      }
  }
};

}  // namespace

void gemm_in_f32(Tensor c, Tensor a, Tensor b, Tensor bias, bool accumulate) {
  const OneThread one_thread;
  const Copy a32(a), b32(b);
  Copy c32(c);
  const Product& product = find_product(c32.tensor, a32.tensor, b32.tensor, {}, accumulate);
  check(product.supported, "gemm: oneDNN has no product of f32");
  run(product, c32.tensor, a32.tensor, b32.tensor, {});
  for (int64_t i = 0; i < c.dim(0); ++i)
    for (int64_t j = 0; j < c.dim(1); ++j) {
      const int64_t at = i * c.strides[0] + j * c.strides[1];
      float x = c32.data[i * c.dim(1) + j];
      if (bias) x += bias.dtype == DType::f32 ? bias.as<float>()[j] : to_float(bias.as<bf16>()[j]);
      if (c.dtype == DType::f32)
        c.as<float>()[at] = x;
      else
        c.as<bf16>()[at] = to_bf16(x);
    }
}

namespace {

// Cuts n into pieces of nearly equal length, a multiple of 64 and at most `longest`.
int64_t piece(int64_t n, int64_t longest) {
  const int64_t pieces = std::max<int64_t>(1, (n + longest - 1) / longest);
  return ((n + pieces - 1) / pieces + 63) / 64 * 64;
}

struct TileSize {
  int64_t rows, columns;
};

// Tall tiles pack b least often; a product too small to fill them takes flatter ones, so that
// threads end together (three tiles on two threads leave a quarter of the time idle).
TileSize tile_size(int64_t m, int64_t n, bool amx) {
  constexpr int64_t kFewestTiles = 16;
  const int64_t columns = piece(n, amx ? 384 : 512);
  const int64_t across = (n + columns - 1) / columns;
  for (int64_t longest = amx ? 512 : 1024; longest > 256; longest /= 2) {
    const int64_t rows = piece(m, longest);
    if ((m + rows - 1) / rows * across >= kFewestTiles) return {rows, columns};
  }
  return {piece(m, 256), columns};
}

}  // namespace

void gemm(Tensor c, Tensor a, Tensor b, const GemmOptions& options) {
  const int64_t m = c.dim(0), n = c.dim(1), k = a.dim(1);
  check(a.dim(0) == m && b.dim(0) == k && b.dim(1) == n, "gemm: shapes do not fit");
  check(a.dtype == b.dtype, "gemm: a and b differ in type");
  if (m == 0 || n == 0) return;

  const bool tiles = fits_tiles(c, a, options.bias);
  const TileSize size = tile_size(m, n, tiles);
  const int64_t rows = size.rows, columns = size.columns;
  const int64_t down = (m + rows - 1) / rows, across = (n + columns - 1) / columns;
  parallel_for(down * across, [&](int64_t i) {
    const OneThread one_thread;
    Tile tile;
    tile.row = i % down * rows, tile.column = i / down * columns;
    tile.rows = std::min(rows, m - tile.row), tile.columns = std::min(columns, n - tile.column);
    const Tensor ct = c.narrow(0, tile.row, tile.rows).narrow(1, tile.column, tile.columns);
    const Tensor at = a.narrow(0, tile.row, tile.rows), bt = b.narrow(1, tile.column, tile.columns);
    const Tensor bias = options.bias ? options.bias.narrow(0, tile.column, tile.columns) : Tensor{};
    if (tiles)
      run_on_tiles(ct, at, bt, bias, options.accumulate);
    else if (const Product& product = find_product(ct, at, bt, bias, options.accumulate);
             product.supported)
      run(product, ct, at, bt, bias);
    else
      gemm_in_f32(ct, at, bt, bias, options.accumulate);
    if (options.then) options.then(tile);
  });
}

std::string gemm_library_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace strobe::cpu
