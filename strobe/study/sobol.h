// Sobol's low-discrepancy sequence with Owen's nested uniform scrambling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace strobe {

/// Dimensions the table of direction numbers has.
size_t sobol_dimensions();

/// Coordinate `dimension` of point `index`, a fraction of 2^32, in the order of Antonov and Saleev
/// (Gray code). Dimensions beyond the table throw Error.
uint32_t sobol(uint64_t index, size_t dimension);

/// Each bit is flipped by a random bit of its own that depends on all bits before it (A. B. Owen,
/// "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995): what was evenly spread stays so.
uint32_t owen_scramble(uint32_t coordinate, uint64_t seed, size_t dimension);

/// The scrambled point `index`, in [0, 1).
void sobol_point(uint64_t index, uint64_t seed, std::span<double> unit);

}  // namespace strobe
