#include "strobe/train/batch_room.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"

namespace strobe {

BatchRoom::BatchRoom(const Size& size, Arena& arena) : size_(size) {
  const int64_t bytes = lay_out(size.rows, size.scored, Tensor{}).bytes;
  memory_ = arena.allocate("batch", DType::u8, {bytes});
}

BatchRoom::Layout BatchRoom::lay_out(int64_t rows, int64_t scored, Tensor memory) const {
  Arena arena = memory ? Arena(memory.data, memory.bytes()) : Arena();
  const auto take = [&](DType dtype, int64_t n) { return arena.allocate("batch", dtype, {n}); };
  Batch batch;
  batch.tokens = take(DType::i32, rows), batch.positions = take(DType::i32, rows);
  if (size_.picks) {
    batch.types = take(DType::i32, rows), batch.places = take(DType::i32, rows);
    batch.picks = take(DType::i32, scored), batch.scores = take(DType::f32, scored);
  }
  batch.targets = take(DType::i32, scored);
  batch.cu_seqlens = take(DType::i32, size_.sequences + 1);
  batch.longest = size_.length;
  return {batch, arena.mark()};
}

std::vector<int32_t> BatchRoom::starts_of(const HostBatch& batch) const {
  const auto rows = static_cast<int32_t>(batch.tokens.size());
  std::vector<int32_t> starts = batch.starts;
  if (starts.empty())
    for (int64_t at = 0; at <= size_.rows; at += size_.length)
      starts.push_back(static_cast<int32_t>(at));
  // Rows that no sequence has are one of their own.
  if (starts.back() != rows) starts.push_back(rows);
  const auto most = static_cast<size_t>(size_.sequences) + 1;
  check(starts.size() <= most, "engine: more sequences than were planned");
  starts.resize(most, rows);  // empty ones
  return starts;
}

Batch BatchRoom::upload(Backend& ops, const HostBatch& batch) {
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  const auto scored = static_cast<int64_t>(batch.targets.size());
  check(rows > 0 && rows <= size_.rows, "engine: a batch of more rows than were planned");
  if (size_.picks)
    check(scored > 0 && scored <= size_.scored && batch.picks.size() == batch.targets.size(),
          "engine: a target for each row that is picked, no more of them than were planned");
  else
    check(scored == rows, "engine: as many targets as rows");

  auto [out, bytes] = lay_out(rows, scored, memory_);
  out.longest = batch.longest > 0 ? batch.longest : size_.length;
  staged_.resize(static_cast<size_t>(bytes));
  const auto place = [&](const Tensor& part) {
    return staged_.data() + (part.as<char>() - memory_.as<char>());
  };
  // What the batch has less of than the part holds is `rest`.
  const auto put = [&](const Tensor& part, const auto& values, auto rest) {
    auto* const to = reinterpret_cast<decltype(rest)*>(place(part));
    const auto end = std::copy(values.begin(), values.end(), to);
    std::fill(end, to + part.numel(), rest);
  };
  put(out.tokens, batch.tokens, int32_t{0});
  put(out.targets, batch.targets, int32_t{-1});
  const std::vector<int32_t> starts = starts_of(batch);
  put(out.cu_seqlens, starts, int32_t{0});
  auto* const positions = reinterpret_cast<int32_t*>(place(out.positions));
  for (size_t i = 0; i + 1 < starts.size(); ++i)
    for (int32_t row = starts[i]; row < starts[i + 1]; ++row) positions[row] = row - starts[i];
  if (size_.picks) {
    put(out.types, batch.types, int32_t{0});
    put(out.picks, batch.picks, int32_t{0});
    put(out.scores, batch.scores, NAN);
    put(out.places, std::vector<int32_t>{}, static_cast<int32_t>(scored));
    // The first place of a row counts: batches are filled up with row 0, and no target.
    auto* const places = reinterpret_cast<int32_t*>(place(out.places));
    for (int64_t i = scored; i-- > 0;)
      places[batch.picks[static_cast<size_t>(i)]] = static_cast<int32_t>(i);
  }
  ops.upload(memory_.rows(0, bytes), staged_.data());
  return out;
}

}  // namespace strobe
