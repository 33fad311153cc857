// Index arithmetic of the CUDA attention kernels, on any machine: placement in shared memory,
// masks' bounds, schedules.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "strobe/cuda/attention_layout.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {
namespace {

TEST(CudaAttentionLayout, SwizzleIsAPermutationWithoutBankConflicts) {
  for (int chunks : {4, 8, 16, 32}) {
    std::set<int> all;
    for (int row = 0; row < 64; ++row)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const int at = swizzled_chunk(row, chunk, chunks);
        EXPECT_EQ(at / chunks, row);
        all.insert(at);
      }
    EXPECT_EQ(all.size(), 64u * chunks);
    // ldmatrix reads equal chunks of 8 rows: 8 groups of 4 banks.
    for (int first = 0; first < 64; first += 8)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        std::set<int> groups;
        for (int row = first; row < first + 8; ++row)
          groups.insert(swizzled_chunk(row, chunk, chunks) % 8);
        EXPECT_EQ(groups.size(), 8u) << chunks;
      }
    // What kernels count on: rows 16 apart alike, columns by exclusive-or.
    for (int row = 0; row < 16; ++row)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        EXPECT_EQ(swizzled_chunk(row + 16, chunk, chunks),
                  swizzled_chunk(row, chunk, chunks) + 16 * chunks);
        EXPECT_EQ(swizzled_chunk(row, chunk, chunks), swizzled_chunk(row, 0, chunks) ^ chunk);
      }
  }
}

TEST(CudaAttentionLayout, AThreadHoldsFourNeighbours) {
  for (int i = 0; i < 96; ++i) {
    EXPECT_EQ(row_of_column_slot(column_slot(i)), i);
    for (int pieces : {1, 2}) EXPECT_EQ(row_of_row_slot(row_slot(i, pieces), pieces), i);
  }
  for (int t = 0; t < 4; ++t)  // columns 2 t, 2 t + 1 of two eights
    for (int e = 0; e < 4; ++e)
      EXPECT_EQ(row_of_column_slot(16 + 8 * (e / 2) + 2 * t + e % 2), 16 + 4 * t + e);
  for (int g = 0; g < 8; ++g)
    for (int e = 0; e < 4; ++e) {  // rows g, g + 8 of two pieces, or of one
      EXPECT_EQ(row_of_row_slot(32 + 16 * (e / 2) + 8 * (e % 2) + g, 2), 32 + 4 * g + e);
      if (e < 2) {
        EXPECT_EQ(row_of_row_slot(16 + 8 * e + g, 1), 16 + 2 * g + e);
      }
    }
}

// The pairs of keys of a thread's columns, and where their words are.
TEST(CudaAttentionLayout, PairsOfColumnsFindTheirWords) {
  for (int t = 0; t < 4; ++t)
    for (int n = 0; n < 8; ++n) {
      const int key = row_of_column_slot(8 * n + 2 * t);
      EXPECT_EQ(key % 2, 0);
      EXPECT_EQ(row_of_column_slot(8 * n + 2 * t + 1), key + 1);
      EXPECT_EQ(attention_dropout_slot(64 + key / 2), 64 + pair_slot(0, t) + pair_slot(n, 0));
    }
}

// The pairs of keys of a thread's rows.
TEST(CudaAttentionLayout, PairsOfRowsLieInOneThread) {
  for (int pieces : {1, 2})
    for (int p = 0; p < pieces; ++p)
      for (int g = 0; g < 8; ++g) {
        const int key = row_of_row_slot(16 * p + g, pieces);
        EXPECT_EQ(key % 2, 0);
        EXPECT_EQ(row_of_row_slot(16 * p + 8 + g, pieces), key + 1);
      }
}

TEST(CudaAttentionLayout, MaskAgreesWithItsDefinition) {
  for (int queries : {1, 3, 8})
    for (int keys : {0, 1, 5, 8, 12})
      for (bool causal : {false, true}) {
        const AttentionMask mask{queries, keys, causal};
        for (int i = 0; i < queries; ++i)
          for (int j = 0; j < keys; ++j) {
            const bool sees = !causal || j <= i + keys - queries;
            EXPECT_EQ(j < mask.keys_seen(i), sees);
            EXPECT_EQ(i >= mask.first_query(j), sees);
          }
      }
}

TEST(CudaAttentionLayout, ForwardVisitsEveryBlockOnceLongestFirst) {
  for (int pairs : {1, 5, 12})
    for (int blocks : {1, 3, 8})
      for (int chunk : {1, 4, 64}) {
        std::set<std::pair<int, int>> seen;
        for (int i = 0; i < pairs * blocks; ++i) {
          const AttentionItem item = forward_item(i, pairs, blocks, chunk);
          EXPECT_TRUE(item.pair >= 0 && item.pair < pairs);
          EXPECT_TRUE(item.block >= 0 && item.block < blocks);
          seen.insert({item.pair, item.block});
          if (i > 0) {
            const AttentionItem before = forward_item(i - 1, pairs, blocks, chunk);
            if (before.pair / chunk == item.pair / chunk) {
              EXPECT_GE(before.block, item.block);
            }
          }
        }
        EXPECT_EQ(seen.size(), static_cast<size_t>(pairs * blocks));
      }
}

// Key blocks add to each query block in an order without gaps, and no order of waiting is circular.
TEST(CudaAttentionLayout, BackwardOrderIsATotalOneAndComplete) {
  for (int queries : {1, 63, 64, 65, 200, 1024})
    for (int keys : {1, 127, 128, 129, 500, 1024})
      for (int mode = 0; mode < 8; ++mode) {
        const bool causal = mode & 1, together = mode & 2;
        const BackwardOrder order{
            {queries, keys, causal}, 64, 128, backward_walk(causal, together, mode & 4 ? 2 : 1)};
        const int nq = order.query_blocks(), nk = order.key_blocks();
        std::vector<std::vector<int>> by_rank(nq);
        for (int j = 0; j < nk; ++j) {
          std::set<int> visited;
          for (int t = 0; t < order.visits(j); ++t) {
            const int i = order.visited(j, t);
            ASSERT_TRUE(i >= 0 && i < nq);
            visited.insert(i);
            by_rank[i].push_back(order.rank(i, j));
            // A block of keys is visited where some query sees one of its keys.
            bool seen = false;
            for (int q = i * 64; q < std::min(queries, i * 64 + 64); ++q)
              seen |= order.mask.keys_seen(q) > j * 128;
            EXPECT_TRUE(seen);
          }
          EXPECT_EQ(static_cast<int>(visited.size()), order.visits(j));
        }
        for (int i = 0; i < nq; ++i) {
          std::sort(by_rank[i].begin(), by_rank[i].end());
          ASSERT_EQ(static_cast<int>(by_rank[i].size()), order.contributions(i));
          for (int r = 0; r < order.contributions(i); ++r) EXPECT_EQ(by_rank[i][r], r);
        }
      }
}

// A key block waits only for those whose tickets came before; falling, the longest come first.
TEST(CudaAttentionLayout, BackwardTicketsComeInTheOrderOfTurns) {
  for (BackwardWalk walk : {BackwardWalk::rising, BackwardWalk::falling})
    for (int pairs : {1, 5, 12})
      for (int chunk : {1, 4, 64}) {
        const BackwardOrder order{{1000, 1000, true}, 64, 128, walk};
        std::vector<std::vector<int>> taken(pairs);
        for (int i = 0; i < pairs * order.key_blocks(); ++i) {
          const AttentionItem item = backward_item(i, pairs, order.key_blocks(), chunk, walk);
          for (int j : taken.at(item.pair)) {
            EXPECT_LT(order.rank(15, j), order.rank(15, item.block));
            if (walk == BackwardWalk::falling) {
              EXPECT_GE(order.visits(j), order.visits(item.block));
            }
          }
          taken[item.pair].push_back(item.block);
        }
        for (const auto& blocks : taken) EXPECT_EQ(blocks.size(), size_t(order.key_blocks()));
      }
  EXPECT_EQ(backward_chunk(64, 32, 132, (4 << 20) - 1), 8);  // fits L2
  EXPECT_EQ(backward_chunk(16, 32, 132, 16 << 20), 4);       // fills the GPU
  EXPECT_EQ(backward_chunk(384, 8, 132, 0), 384);
  EXPECT_EQ(backward_chunk(0, 0, 132, 0), 1);
}

// If all key blocks of a head start together and take one unit of time for a query block, none
// waits, rising under a causal mask or going round; and with limited places, given in the order of
// tickets, all of them finish.
TEST(CudaAttentionLayout, BackwardNeverWaitsInStepAndNeverForever) {
  for (int blocks : {1, 2, 5, 8, 16})
    for (int mode = 0; mode < 8; ++mode)
      for (int places : {blocks, 2, 1}) {
        const bool causal = mode & 1, together = mode & 2;
        if (together && places < blocks) continue;
        const BackwardWalk walk = backward_walk(causal, together, mode & 4 ? 2 : 1);
        const BackwardOrder order{{64 * blocks * 2, 128 * blocks, causal}, 64, 128, walk};
        std::vector<int> turn(order.query_blocks(), 0), step(blocks, 0);
        std::vector<int> running;
        int next = 0, done = 0, waits = 0;
        for (int time = 0; done < blocks; ++time) {
          ASSERT_LT(time, 100 * blocks) << "a circle";
          while (static_cast<int>(running.size()) < places && next < blocks)
            running.push_back(backward_item(next++, 1, blocks, 1, walk).block);
          std::vector<int> reached;
          for (int j : running) {
            const int i = order.visited(j, step[j]);
            if (turn[i] == order.rank(i, j))
              reached.push_back(j);
            else
              ++waits;
          }
          for (int j : reached) {
            ++turn[order.visited(j, step[j])];
            if (++step[j] == order.visits(j)) {
              ++done;
              running.erase(std::find(running.begin(), running.end(), j));
            }
          }
        }
        if (walk != BackwardWalk::falling && (causal || together) && places == blocks) {
          EXPECT_EQ(waits, 0) << blocks << " " << mode;
        }
      }
}

}  // namespace
}  // namespace strobe::cuda
