// The tile registers of AMX, for as long as an object lives: eight tiles of 16 rows of 64 bytes.
#pragma once

#if defined(__AMX_BF16__)

#include <immintrin.h>

#include <cstdint>

namespace strobe::cpu::STROBE_ISA {

struct TileConfig {  // as LDTILECFG reads it
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

class TileSession {
 public:
  TileSession() {
    // A constant of the program: GCC's intrinsic names but the first 8 bytes as read, so stores to
    // a local variable's others would be taken out as dead.
    alignas(64) static constexpr TileConfig kConfig;
    _tile_loadconfig(&kConfig);
  }
  ~TileSession() { _tile_release(); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

}  // namespace strobe::cpu::STROBE_ISA

#endif  // __AMX_BF16__
