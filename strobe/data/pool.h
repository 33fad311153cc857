// Things that are costly to make, kept for the next thread that wants one.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace strobe {

/// Things that a thread takes, uses and puts back, so that what they hold stays. Thread-safe.
template <class Thing>
class Pool {
 public:
  /// Takes one for its own lifetime.
  class Lease {
   public:
    explicit Lease(Pool& pool) : pool_(pool), thing_(pool.take()) {}
    ~Lease() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.idle_.push_back(std::move(thing_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Thing& operator*() const { return *thing_; }
    Thing* operator->() const { return thing_.get(); }

   private:
    Pool& pool_;
    std::unique_ptr<Thing> thing_;
  };

 private:
  std::unique_ptr<Thing> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Thing> thing = std::move(idle_.back());
        idle_.pop_back();
        return thing;
      }
    }
    return std::make_unique<Thing>();
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Thing>> idle_;
};

}  // namespace strobe
