"""Writes strobe/study/sobol_table.h: direction numbers of Sobol's sequence, from scipy's copy of
new-joe-kuo-6.21201 (S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional
projections", SIAM J. Sci. Comput. 30, 2008).
usage: python3 tools/make_sobol_table.py > strobe/study/sobol_table.h"""
import pathlib

import numpy as np
import scipy

DIMENSIONS = 64
file = pathlib.Path(scipy.__file__).parent / "stats" / "_sobol_direction_numbers.npz"
data = np.load(file)
degree = [max(0, int(p).bit_length() - 1) for p in data["poly"][:DIMENSIONS]]
width = max(degree)
print(f"""// Direction numbers of Sobol's sequence: new-joe-kuo-6.21201 of S. Joe and F. Y. Kuo, "Constructing
// Sobol sequences with better two-dimensional projections", SIAM J. Sci. Comput. 30, 2008.
// Written by tools/make_sobol_table.py.
#pragma once

#include <cstdint>

namespace strobe {{

/// A dimension: its primitive polynomial, all coefficients as bits, and the first odd numbers m.
struct SobolDimension {{
  uint32_t polynomial;
  uint32_t m[{width}];
}};

inline constexpr SobolDimension kSobolTable[] = {{""")
for p, v in zip(data["poly"][:DIMENSIONS], data["vinit"][:DIMENSIONS]):
    n = max(1, int(p).bit_length() - 1)
    print(f"    {{{int(p)}, {{{', '.join(str(int(m)) for m in v[:n])}}}}},")
print("""};

}  // namespace strobe""")
