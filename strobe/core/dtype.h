// Element types. A float is stored as f32 or bf16; arithmetic is always done in f32.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#if defined(__CUDACC__)
#define STROBE_HD __host__ __device__
#else
#define STROBE_HD
#endif

namespace strobe {

enum class DType : uint8_t { f32, bf16, i32, u8 };

constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::bf16: return 2;
    case DType::i32: return 4;
    case DType::u8: return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
  }
  return "?";
}

/// The upper half of an IEEE single. Converts to and from float; rounds to nearest, ties to even.
struct bf16 {
  uint16_t bits;
};

STROBE_HD constexpr float to_float(bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
STROBE_HD constexpr float to_float(float x) { return x; }

STROBE_HD constexpr bf16 to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};  // NaN
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

template <class T>
inline constexpr DType dtype_of = DType::u8;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;

}  // namespace strobe
