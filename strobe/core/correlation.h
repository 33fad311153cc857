// How far two lists of numbers go together.
#pragma once

#include <span>
#include <vector>

namespace strobe {

/// Pearson's correlation; NaN of fewer than two pairs, or if one side is constant.
double correlation(std::span<const double> a, std::span<const double> b);

/// The rank of each value, from 1; ties have their mean rank. correlation() of the ranks of two
/// lists is Spearman's. Where a value is NaN there is no order, and every rank is NaN.
std::vector<double> ranks(std::span<const double> values);

}  // namespace strobe
