#include "strobe/cpu/cpu_backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/core/memory.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/attention.h"
#include "strobe/cpu/gemm.h"
#include "strobe/cpu/isa_select.h"
#include "strobe/cpu/peak.h"

namespace strobe {

namespace {

// The value of a line "key: value" or "key<tabs>: value" of a file of /proc.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

constexpr int64_t kHugePage = 2 << 20;

}  // namespace

DeviceInfo CpuBackend::info() const {
  DeviceInfo info;
  const cpu::Isa isa = cpu::isa();
  info.name = fmt::format("{} threads, {} ({})", threads(),
                          proc_value("/proc/cpuinfo", "model name"), cpu::name_of(isa));
  info.kind = "cpu";
  info.free_bytes = available_bytes();
  info.fast_bf16 = isa >= cpu::Isa::avx512_bf16;
  info.peak_flops = cpu::peak_flops(DType::bf16), info.peak_flops_f32 = cpu::peak_flops(DType::f32);
  std::string sets;
  for (int i = 0; i <= static_cast<int>(cpu::widest_isa()); ++i)
    sets += (i ? ", " : "") + std::string(cpu::name_of(static_cast<cpu::Isa>(i)));
  info.details = {{"cpu", proc_value("/proc/cpuinfo", "model name")},
                  {"instruction sets", sets},
                  {"instruction set in use", std::string(cpu::name_of(isa))},
                  {"peak", fmt::format("{:.0f} GFLOP/s in f32, {:.0f} in bf16",
                                       info.peak_flops_f32 * 1e-9, info.peak_flops * 1e-9)},
                  {"oneDNN", cpu::gemm_library_version()}};
  return info;
}

void* CpuBackend::allocate(int64_t bytes) {
  const int64_t available = available_bytes();
  if (available > 0 && bytes > available)
    fail("memory: {} asked for, but only {} are available", format_bytes(bytes),
         format_bytes(available));
  const int64_t alignment = bytes >= kHugePage ? kHugePage : 256;
  const int64_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, std::max(whole, alignment));
  if (!memory) fail("memory: the system refused {}", format_bytes(bytes));
  if (bytes >= kHugePage) madvise(memory, whole, MADV_HUGEPAGE);  // only advice: may fail
  return memory;
}

void CpuBackend::release(void* memory) { std::free(memory); }

void CpuBackend::upload(Tensor dst, const void* src) {
  check(dst.contiguous(), "cpu: upload to a strided view");
  if (dst.bytes() > 0) std::memcpy(dst.data, src, dst.bytes());  // null may not be copied
}

void CpuBackend::download(void* dst, Tensor src) {
  check(src.contiguous(), "cpu: download of a strided view");
  if (src.bytes() > 0) std::memcpy(dst, src.data, src.bytes());
}

int64_t CpuBackend::start_download(Tensor src) {
  Download& download = downloads_[++tickets_];
  download.state = state_;
  download.bytes.resize(static_cast<size_t>(src.bytes()));
  CpuBackend::download(download.bytes.data(), src);
  return tickets_;
}

StepState CpuBackend::finish_download(int64_t ticket, void* dst) {
  const auto found = downloads_.find(ticket);
  check(found != downloads_.end(), "cpu: no download of this ticket");
  std::memcpy(dst, found->second.bytes.data(), found->second.bytes.size());
  const StepState state = found->second.state;
  downloads_.erase(found);
  return state;
}

std::string CpuBackend::attention_unsupported(AttentionAlgorithm algorithm,
                                              const AttentionShape& shape, DType dtype) const {
  return cpu::attention_unsupported(algorithm, shape, dtype);
}

int64_t CpuBackend::attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                          DType dtype) const {
  return cpu::attention_saved_bytes(algorithm, shape, dtype);
}

int64_t CpuBackend::attention_workspace_bytes(AttentionAlgorithm algorithm,
                                              const AttentionShape& shape, DType dtype,
                                              bool backward) const {
  return cpu::attention_workspace_bytes(algorithm, shape, dtype, backward);
}

void CpuBackend::attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                                   const AttentionOp& op, Tensor workspace) {
  cpu::attention_forward(o, lse, saved, q, k, v, op, state_, workspace);
}

void CpuBackend::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k,
                                    Tensor v, Tensor o, Tensor lse, Tensor saved,
                                    const AttentionOp& op, Tensor workspace) {
  cpu::attention_backward(dq, dk, dv, d_o, q, k, v, o, lse, saved, op, state_, workspace);
}

}  // namespace strobe
