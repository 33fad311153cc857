// What only Hopper has: mbarriers, TMA, wgmma, setmaxnreg, named barriers, fences. One function an
// instruction, named as it; no other file of flash3 contains `asm`. For files *_sm90.cu.
//
// Protocol of a stage of shared memory. "full": mbarrier_arrive_expect_tx by the thread that issues
// the copies, which complete it; "empty": mbarrier_arrive by each consumer. A barrier's phases are
// told apart by their parity: mbarrier_wait(bar, p) returns when the phase of parity p is over, so
// the n-th use of a stage waits on "full" with n & 1 and its producer on "empty" with ~n & 1.
//
// Shared memory that ordinary stores wrote and TMA or wgmma will read needs
// fence_proxy_async_shared() by each writer, then a barrier.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <cstdio>

namespace strobe::cuda::sm90 {

// ---- mbarrier ----------------------------------------------------------------------------------

__device__ inline void mbarrier_init(uint32_t bar, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}
/// Makes mbarrier_init visible to TMA; then a barrier of the thread block.
__device__ inline void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void mbarrier_arrive(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
/// Arrives, and lets the phase also wait for `bytes` of copies.
__device__ inline void mbarrier_arrive_expect_tx(uint32_t bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
               : "memory");
}
/// Whether the phase of this parity is over; waits a while.
__device__ inline bool mbarrier_try_wait_parity(uint32_t bar, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(bar), "r"(parity)
      : "memory");
  return done != 0;
}
/// With -DSTROBE_GUARD_BARRIERS a wait of a second says which barrier and traps.
__device__ inline void mbarrier_wait(uint32_t bar, uint32_t parity) {
#ifdef STROBE_GUARD_BARRIERS
  const long long begin = clock64();
  while (!mbarrier_try_wait_parity(bar, parity))
    if (clock64() - begin > 2000000000ll) {
      printf("mbarrier at %u, parity %u: block %d, thread %d waits for ever\n", bar, parity,
             blockIdx.x, threadIdx.x);
      __trap();
    }
#else
  while (!mbarrier_try_wait_parity(bar, parity)) {
  }
#endif
}

// ---- barriers, registers -----------------------------------------------------------------------

/// Named barrier `id` (0 is __syncthreads'): waits for `threads` threads, those that only arrive
/// included.
__device__ inline void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ inline void bar_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// The registers a thread may have from here on, by all warps of a warpgroup.
template <int Registers>
__device__ inline void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ inline void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
/// Ordinary accesses to shared memory before, TMA's and wgmma's after.
__device__ inline void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Ordinary accesses to global memory before, bulk copies' after. (Without a state space the fence
/// also waits until all the thread's writes have reached L2.)
__device__ inline void fence_proxy_async_global() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}
__device__ inline void red_release_gpu_add(int* p, int x) {
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}

// ---- TMA ---------------------------------------------------------------------------------------

__device__ inline void prefetch_tensormap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/// The box at (x, y, z) of a tensor in global memory to shared memory; counts its bytes, those out
/// of bounds (zero) included, at `bar`.
__device__ inline void cp_async_bulk_tensor_3d(uint32_t to, const CUtensorMap* map, int x, int y,
                                               int z, uint32_t bar) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
      "l"(map), "r"(bar), "r"(x), "r"(y), "r"(z)
      : "memory");
}
/// From shared memory to the box; what is out of bounds is not written.
__device__ inline void cp_async_bulk_tensor_3d_store(const CUtensorMap* map, uint32_t from, int x,
                                                     int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
      "r"(from), "r"(x), "r"(y), "r"(z)
      : "memory");
}
/// Contiguous bytes, a multiple of 16, to shared memory.
__device__ inline void cp_async_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(bar)
      : "memory");
}
/// Contiguous bytes, a multiple of 16, from shared memory.
__device__ inline void cp_async_bulk_store(void* to, uint32_t from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from),
               "r"(bytes)
               : "memory");
}
/// Adds contiguous floats in shared memory to those in global memory.
__device__ inline void cp_reduce_async_bulk_add_f32(float* to, uint32_t from, uint32_t bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(from), "r"(bytes)
      : "memory");
}
__device__ inline void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until at most `Pending` of this thread's groups of stores are unfinished; `_read`: have not read
/// their shared memory yet.
template <int Pending>
__device__ inline void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
}
template <int Pending>
__device__ inline void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}

// ---- fragments ---------------------------------------------------------------------------------

/// Four 8x8 matrices of 16-bit elements, an A fragment's, to shared memory; lane i gives the
/// address of row i % 8 of matrix i / 8.
__device__ inline void stmatrix_x4(uint32_t to, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
/// The same, each stored transposed: row i of one is then column i of the fragment.
__device__ inline void stmatrix_x4_trans(uint32_t to, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
__device__ inline float4 ld_shared_v4(uint32_t from) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(from)
               : "memory");
  return x;
}
__device__ inline void st_shared_v4(uint32_t to, float x, float y, float z, float w) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x), "f"(y), "f"(z), "f"(w)
               : "memory");
}
/// Products of two pairs of bf16.
__device__ inline uint32_t mul_bf16x2(uint32_t a, uint32_t b) {
  uint32_t y;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
/// The lesser of two pairs of 16-bit unsigned integers.
__device__ inline uint32_t min_u16x2(uint32_t a, uint32_t b) {
  uint32_t y;
  asm("min.u16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}

/// Four floats rounded to e4m3, the first in the lowest byte; beyond 448 is 448.
__device__ inline uint32_t cvt_rn_satfinite_e4m3x4(float a, float b, float c, float d) {
  uint32_t y;
  asm("{\n.reg .b16 low, high;\n"
      "cvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\n"
      "cvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n"
      "mov.b32 %0, {low, high};\n}"
      : "=r"(y)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return y;
}

// ---- wgmma -------------------------------------------------------------------------------------
//
// d (+)= a b by a warpgroup: 64 x N in f32, as many rows of 16 as it has warps. In the terms of
// tile.cuh, d[4 n + ...] is the accumulator 16x8 of columns 8 n. a is a tile in shared memory or an
// A fragment 16x16 a warp. Asynchronous: between wgmma_commit_group and the wait that covers it the
// accumulators and fragments must not be touched.

/// Before the first wgmma, and whenever registers that the next one reads or adds to were written.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int Pending>
__device__ inline void wgmma_wait_group() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving accesses of x across this point.
template <int N>
__device__ inline void wgmma_fence_operand(float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(x[i])::"memory");
}
template <int N>
__device__ inline void wgmma_fence_operand(uint32_t (&x)[N][4]) {
#pragma unroll
  for (int i = 0; i < 4 * N; ++i) asm volatile("" : "+r"(x[i / 4][i % 4])::"memory");
}

/// The descriptor of a tile in shared memory at `address`, a multiple of 1024, in panels of 64
/// 16-bit elements (128 bytes) with TMA's 128-byte swizzle. Fields: address / 16 in bits 0-13, the
/// two strides / 16 in bits 16-29 and 32-45, the swizzle in 62-63.
///
/// k_major: the product sums along a panel's rows; groups of 8 rows lie 1024 bytes apart.
///   The next 16 of k: address + 32.
/// mn_major: the product sums over a panel's rows; panels of 64 columns lie `panel_bytes` apart.
///   The next 16 of k: address + 2048.
__device__ inline uint64_t descriptor_k_major(uint32_t address) {
  return (uint64_t{1} << 62) | (uint64_t{1024 >> 4} << 32) | (uint64_t{1} << 16) |
         ((address & 0x3ffff) >> 4);
}
__device__ inline uint64_t descriptor_mn_major(uint32_t address, uint32_t panel_bytes) {
  return (uint64_t{1} << 62) | (uint64_t{1024 >> 4} << 32) | (uint64_t{panel_bytes >> 4} << 16) |
         ((address & 0x3ffff) >> 4);
}
/// The descriptor `bytes`, a multiple of 16, further on.
__device__ inline uint64_t advance(uint64_t descriptor, uint32_t bytes) {
  const uint32_t low = static_cast<uint32_t>(descriptor) + bytes / 16;
  return descriptor >> 32 << 32 | low;
}

// Operands of an instruction are numbered, accumulators first.
#define STROBE_REGISTERS_32                                                          \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define STROBE_REGISTERS_64                                                          \
  STROBE_REGISTERS_32                                                                \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define STROBE_REGISTERS_96                                                          \
  STROBE_REGISTERS_64                                                                \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define STROBE_FLOATS_8(i)                                                                    \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define STROBE_FLOATS_32 \
  STROBE_FLOATS_8(0), STROBE_FLOATS_8(8), STROBE_FLOATS_8(16), STROBE_FLOATS_8(24)
#define STROBE_FLOATS_64                                                           \
  STROBE_FLOATS_32, STROBE_FLOATS_8(32), STROBE_FLOATS_8(40), STROBE_FLOATS_8(48), \
      STROBE_FLOATS_8(56)
#define STROBE_FLOATS_96                                                           \
  STROBE_FLOATS_64, STROBE_FLOATS_8(64), STROBE_FLOATS_8(72), STROBE_FLOATS_8(80), \
      STROBE_FLOATS_8(88)

// %a, %b, ... are the numbers that follow the accumulators.
#define STROBE_WGMMA_SS(n, registers, a, b, add, ta, tb)                                      \
  asm volatile(                                                                               \
      "{\n.reg .pred p;\n"                                                                    \
      "setp.ne.b32 p, %" #add                                                                 \
      ", 0;\n"                                                                                \
      "wgmma.mma_async.sync.aligned.m64n" #n                                                  \
      "k16.f32.bf16.bf16 "                                                                    \
      "{" STROBE_REGISTERS_##registers "}, %" #a ", %" #b ", p, 1, 1, %" #ta ", %" #tb ";\n}" \
      : STROBE_FLOATS_##registers                                                             \
      : "l"(desc_a), "l"(desc_b), "r"(accumulate), "n"(TransposeA), "n"(TransposeB))
#define STROBE_WGMMA_RS(n, registers, a0, a1, a2, a3, b, add, tb)                          \
  asm volatile(                                                                            \
      "{\n.reg .pred p;\n"                                                                 \
      "setp.ne.b32 p, %" #add                                                              \
      ", 0;\n"                                                                             \
      "wgmma.mma_async.sync.aligned.m64n" #n                                               \
      "k16.f32.bf16.bf16 "                                                                 \
      "{" STROBE_REGISTERS_##registers "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b \
                                       ", p, 1, 1, %" #tb ";\n}"                           \
      : STROBE_FLOATS_##registers                                                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(desc_b), "r"(accumulate), "n"(TransposeB))

/// d = a b + (accumulate ? d : 0), 16 of k, bf16. Transpose: the operand is mn_major.
template <int N, int TransposeA, int TransposeB>
__device__ inline void wgmma_m64k16_bf16(float (&d)[N / 2], uint64_t desc_a, uint64_t desc_b,
                                         int accumulate) {
  if constexpr (N == 64)
    STROBE_WGMMA_SS(64, 32, 32, 33, 34, 35, 36);
  else if constexpr (N == 128)
    STROBE_WGMMA_SS(128, 64, 64, 65, 66, 67, 68);
  else if constexpr (N == 192)
    STROBE_WGMMA_SS(192, 96, 96, 97, 98, 99, 100);
  else
    static_assert(N == 0, "wgmma: no such N");
}
template <int N, int TransposeB>
__device__ inline void wgmma_m64k16_bf16(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t desc_b,
                                         int accumulate) {
  if constexpr (N == 64)
    STROBE_WGMMA_RS(64, 32, 32, 33, 34, 35, 36, 37, 38);
  else if constexpr (N == 128)
    STROBE_WGMMA_RS(128, 64, 64, 65, 66, 67, 68, 69, 70);
  else
    static_assert(N == 0, "wgmma: no such N");
}

#define STROBE_QGMMA_SS(n, registers, a, b, add)                          \
  asm volatile(                                                           \
      "{\n.reg .pred p;\n"                                                \
      "setp.ne.b32 p, %" #add                                             \
      ", 0;\n"                                                            \
      "wgmma.mma_async.sync.aligned.m64n" #n                              \
      "k32.f32.e4m3.e4m3 "                                                \
      "{" STROBE_REGISTERS_##registers "}, %" #a ", %" #b ", p, 1, 1;\n}" \
      : STROBE_FLOATS_##registers                                         \
      : "l"(desc_a), "l"(desc_b), "r"(accumulate))
#define STROBE_QGMMA_RS(n, registers, a0, a1, a2, a3, b, add)                              \
  asm volatile(                                                                            \
      "{\n.reg .pred p;\n"                                                                 \
      "setp.ne.b32 p, %" #add                                                              \
      ", 0;\n"                                                                             \
      "wgmma.mma_async.sync.aligned.m64n" #n                                               \
      "k32.f32.e4m3.e4m3 "                                                                 \
      "{" STROBE_REGISTERS_##registers "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b \
                                       ", p, 1, 1;\n}"                                     \
      : STROBE_FLOATS_##registers                                                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(desc_b), "r"(accumulate))

/// The same of e4m3, 32 of k (as many bytes); both operands are k_major. a as a fragment: bytes
/// 4 t ... 4 t + 3 of rows g, g + 8, then bytes 16 + 4 t ... of the same.
__device__ inline void wgmma_m64n128k32_e4m3(float (&d)[64], uint64_t desc_a, uint64_t desc_b,
                                             int accumulate) {
  STROBE_QGMMA_SS(128, 64, 64, 65, 66);
}
__device__ inline void wgmma_m64n128k32_e4m3(float (&d)[64], const uint32_t (&a)[4],
                                             uint64_t desc_b, int accumulate) {
  STROBE_QGMMA_RS(128, 64, 64, 65, 66, 67, 68, 69);
}

#undef STROBE_QGMMA_RS
#undef STROBE_QGMMA_SS
#undef STROBE_WGMMA_RS
#undef STROBE_WGMMA_SS
#undef STROBE_REGISTERS_32
#undef STROBE_REGISTERS_64
#undef STROBE_REGISTERS_96
#undef STROBE_FLOATS_8
#undef STROBE_FLOATS_32
#undef STROBE_FLOATS_64
#undef STROBE_FLOATS_96

}  // namespace strobe::cuda::sm90
