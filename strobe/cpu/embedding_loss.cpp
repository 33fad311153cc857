// The two ends of a model: embedding and cross-entropy.
#include <array>
#include <cmath>
#include <cstring>

#include "strobe/cpu/cpu_backend.h"
#include "strobe/cpu/kernels.h"

namespace strobe {

using namespace cpu;

void CpuBackend::embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) {
  check(!tables.empty() && tables.size() <= 3, "embedding: takes one to three tables");
  const int64_t columns = y.dim(1);
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    const auto row = [&](const EmbeddingTable& table, int64_t i) {
      const int32_t id = table.ids.as<int32_t>()[i];
      check(id >= 0 && id < table.table.dim(0), "embedding: id out of range");
      return table.table.as<T>() + id * columns;
    };
    for_pieces(y.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* out = y.as<T>() + i * columns;
        if (tables.size() == 1)
          std::memcpy(out, row(tables[0], i), columns * sizeof(T));
        else if (tables.size() == 2)
          kernels.add(out, row(tables[0], i), row(tables[1], i), columns);
        else
          kernels.add3(out, row(tables[0], i), row(tables[1], i), row(tables[2], i), columns);
      }
    });
  });
}

// Rows may repeat, so the work is cut by columns: each piece adds all its rows in order.
void CpuBackend::embedding_backward(Tensor dtable, Tensor dy, Tensor ids) {
  const int64_t columns = dy.dim(1);
  with_storage(dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    for_pieces(columns, 128, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < dy.dim(0); ++i) {
        const int32_t id = ids.as<int32_t>()[i];
        check(id >= 0 && id < dtable.dim(0), "embedding: id out of range");
        kernels.accumulate(dtable.as<float>() + id * columns + begin,
                           dy.as<T>() + i * columns + begin, end - begin);
      }
    });
  });
}

void CpuBackend::cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                               const CrossEntropy& op) {
  const int64_t width = logits.dim(1);
  check(op.vocab > 0 && op.vocab <= width, "cross-entropy: vocabulary larger than the logits");
  with_storage(logits.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto cross_entropy = of<T>(row_kernels()).cross_entropy;
    for_pieces(logits.dim(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t target = targets.as<int32_t>()[i];
        check(target < op.vocab, "cross-entropy: target outside the vocabulary");
        T* gradient = dlogits ? dlogits.as<T>() + i * width : nullptr;
        float& loss = losses.as<float>()[i];
        if (target >= 0) {
          loss = cross_entropy(gradient, logits.as<T>() + i * width, target, state_.loss_scale,
                               op.vocab, width, op.label_smoothing, op.z_loss);
          continue;
        }
        loss = 0;
        if (gradient) std::memset(gradient, 0, width * sizeof(T));
      }
    });
  });
}

void CpuBackend::squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  const int64_t rows = losses.numel();
  check(x.numel() == rows && targets.numel() == rows && (!dx || dx.numel() == rows),
        "squared_error: shapes differ");
  for (int64_t i = 0; i < rows; ++i) {
    const float target = targets.as<float>()[i];
    const float difference = std::isnan(target) ? 0.0f : x.as<float>()[i] - target;
    losses.as<float>()[i] = difference * difference;
    if (dx) dx.as<float>()[i] = 2 * difference * state_.loss_scale;
  }
}

}  // namespace strobe
