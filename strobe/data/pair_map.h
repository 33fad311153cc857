// A hash map from pairs of token ids.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace strobe {

/// Maps pairs of non-negative int32 to values: open addressing, linear probing, no removal. A
/// pointer into it holds until the next insertion.
template <class Value>
class PairMap {
 public:
  PairMap() : slots_(16) {}

  int64_t size() const { return size_; }

  const Value* find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[place(key(left, right))];
    return slot.key == empty ? nullptr : &slot.value;
  }

  /// The pair's value, a new one if it had none; `.second` tells whether it is new.
  std::pair<Value*, bool> insert(int32_t left, int32_t right) {
    if (size_ * 2 >= static_cast<int64_t>(slots_.size())) grow();
    Slot& slot = slots_[place(key(left, right))];
    const bool is_new = slot.key == empty;
    if (is_new) ++size_;
    slot.key = key(left, right);
    return {&slot.value, is_new};
  }

 private:
  static constexpr uint64_t empty = ~uint64_t{0};
  struct Slot {
    uint64_t key = empty;
    Value value{};
  };

  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  // Where the key is or would be. The number of slots is a power of two.
  size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    const uint64_t mixed = key * 0x9E3779B97F4A7C15u;
    size_t at = (mixed ^ mixed >> 32) & mask;
    while (slots_[at].key != key && slots_[at].key != empty) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (Slot& slot : old)
      if (slot.key != empty) slots_[place(slot.key)] = std::move(slot);
  }

  std::vector<Slot> slots_;
  int64_t size_ = 0;
};

}  // namespace strobe
