// Index arithmetic of the flash3 kernels, on any machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "strobe/cuda/attention_flash3_layout.h"
#include "strobe/cuda/attention_flash3_ring.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {
namespace {

TEST(CudaFlash3Layout, PanelsArePermutationsWithoutBankConflicts) {
  for (int rows : {16, 64, 128})
    for (int chunks : {8, 16}) {
      std::set<int> all;
      for (int row = 0; row < rows; ++row)
        for (int chunk = 0; chunk < chunks; ++chunk) {
          const int at = panel_chunk_byte(row, chunk, rows);
          EXPECT_EQ(at % 16, 0);
          EXPECT_EQ(at / 128 % rows, row);              // rows of 128 bytes
          EXPECT_EQ(at / 128 / rows, chunk / 8);        // in panels
          EXPECT_EQ(at / 16 % 8, chunk % 8 ^ row % 8);  // TMA's 128-byte swizzle
          all.insert(at);
        }
      EXPECT_EQ(all.size(), size_t(rows) * chunks);
      EXPECT_LT(*all.rbegin(), rows * chunks * 16);
    }
}

// Four words of a lane's fetch are those of its pairs of keys in four neighbouring accumulators.
TEST(CudaFlash3Layout, ALaneFetchesTheWordsOfItsPairsOfKeys) {
  for (int key : {0, 128, 384})
    for (int t = 0; t < 4; ++t)
      for (int n = 0; n < 16; ++n) {
        const int pair = (key + 8 * n + 2 * t) / 2;
        EXPECT_EQ(attention_dropout_slot(pair), 4 * (t + key / 8 + n / 4 * 4) + n % 4);
      }
}

// Block i of a head's queries decides those of an accumulator's rows g and g + 8.
TEST(CudaFlash3Layout, ABlockOfQueriesIsOfTheRowsOfALane) {
  for (int row : {0, 16, 448})
    for (int g = 0; g < 8; ++g) {
      const Philox::Block x = attention_dropout_queries(17, 3, row / 16 * 8 + g);
      const DropoutQuery first = attention_dropout_query(17, 3, row + g);
      const DropoutQuery second = attention_dropout_query(17, 3, row + g + 8);
      EXPECT_EQ(first.multiplier, x[0]);
      EXPECT_EQ(first.addend, x[1]);
      EXPECT_EQ(second.multiplier, x[2]);
      EXPECT_EQ(second.addend, x[3]);
    }
}

TEST(CudaFlash3Layout, TilesSeenAgreeWithTheMask) {
  for (int queries : {1, 63, 64, 65, 200})
    for (int keys : {0, 1, 127, 128, 129, 300})
      for (bool causal : {false, true})
        for (int tile : {64, 128})
          for (int row = 0; row < 256; row += 64) {
            const AttentionMask mask{queries, keys, causal};
            int last = 0;  // one past the last key that some query sees
            for (int i = row; i < std::min(row + 64, queries); ++i)
              last = std::max(last, mask.keys_seen(i));
            EXPECT_EQ(tiles_seen(mask, row, 64, tile), (last + tile - 1) / tile);
          }
}

TEST(CudaFlash3Layout, AWarpSeesTheKeysOfItsQueries) {
  for (int queries : {1, 15, 16, 17, 64, 100, 300})
    for (int keys : {0, 1, 127, 130, 300})
      for (bool causal : {false, true}) {
        const AttentionMask mask{queries, keys, causal};
        for (int row = 0; row < queries + 48; row += 16) {
          const WarpMask warp(mask, row);
          for (int i = 0; i < 16; ++i) {
            if (row + i < queries) {
              EXPECT_EQ(warp.keys_seen(i), mask.keys_seen(row + i));
            }
            EXPECT_LE(warp.whole, warp.keys_seen(i));
            EXPECT_LE(warp.keys_seen(i), keys);
          }
          EXPECT_EQ(warp.whole, row + 16 <= queries ? mask.keys_seen(row) : 0);
        }
      }
}

template <int Stages>
void expect_rounds() {
  Ring<Stages> ring;
  for (int passed = 0; passed < 5 * Stages; ++passed, ring.next()) {
    EXPECT_EQ(ring.stage(), passed % Stages);
    EXPECT_EQ(ring.phase(), unsigned(passed) / Stages % 2);
  }
}

// Of a number of stages that is a power of two and of others, which are counted in another way.
TEST(CudaFlash3Layout, RingsGoRoundAndChangeTheirPhase) {
  expect_rounds<1>();
  expect_rounds<2>();
  expect_rounds<3>();
  expect_rounds<4>();
  expect_rounds<6>();
  Ring<4> ring;
  ring.next(), ring.skip(5);
  EXPECT_EQ(ring.stage(), 2);
  EXPECT_EQ(ring.phase(), 1u);
}

TEST(CudaFlash3Layout, BlocksCoverEachQueryOnce) {
  for (int queries : {0, 1, 64, 65, 192, 193, 512, 1000, 1024})
    for (bool causal : {false, true})
      for (int warpgroups : {2, 3, 4}) {
        const AttentionMask mask{queries, 900, causal};
        std::vector<int> covered(queries);
        for (int block = 0; block < 12; ++block)
          for (int w = 0; w < warpgroups; ++w) {
            const int row = first_row(mask, block, warpgroups) + 64 * w;
            EXPECT_EQ(row % 64, 0);
            if (row < 0) continue;
            for (int i = row; i < std::min(row + 64, queries); ++i) ++covered[i];
          }
        const int some = std::min(queries, 12 * 64 * warpgroups);
        EXPECT_EQ(std::count(covered.begin(), covered.end(), 1), some);
        if (causal && queries == 1024 && warpgroups == 3) {
          EXPECT_EQ(first_row(mask, 0, 3), -128);
          EXPECT_EQ(first_row(mask, 5, 3), 832);
        }
      }
}

// Every warpgroup passes each tile of an item, the last of which some warpgroup needs.
TEST(CudaFlash3Layout, AnItemHasTheTilesOfItsWarpgroups) {
  for (int queries : {1, 64, 65, 200, 1000, 1024})
    for (int keys : {0, 1, 130, 1024})
      for (bool causal : {false, true})
        for (int warpgroups : {2, 3, 4})
          for (int block = 0; first_row({queries, keys, causal}, block, warpgroups) < queries;
               ++block) {
            const AttentionMask mask{queries, keys, causal};
            const int first = first_row(mask, block, warpgroups);
            int largest = 0;
            for (int w = 0; w < warpgroups; ++w)
              largest = std::max(largest, warpgroup_tiles(mask, first, w, 128));
            EXPECT_EQ(largest, tiles_seen(mask, first, 64 * warpgroups, 128));
          }
}

TEST(CudaFlash3Layout, ChunksAreNearlyEqual) {
  EXPECT_EQ(even_chunk(0, 5), 1);
  for (int pairs : {1, 7, 63, 64, 65, 384})
    for (int chunk : {1, 5, 63, 64, 1000}) {
      const int even = even_chunk(pairs, chunk), chunks = ceil_div(pairs, even);
      EXPECT_LE(even, chunk);
      EXPECT_EQ(chunks, ceil_div(pairs, chunk));
      EXPECT_GT(pairs - (chunks - 1) * even, 0);
      EXPECT_LT(even - (pairs - (chunks - 1) * even), chunks);
    }
}

// What the scheduler of every thread block does: one item of its own, then draws modulo `items`.
TEST(CudaFlash3Layout, ATicketGivesEachItemOnceAndEndsAtZero) {
  for (int items : {1, 5, 132, 1000})
    for (int blocks : {1, 3, 132}) {
      const int grid = std::min(items, blocks);
      std::vector<int> done(items), next(grid);
      unsigned ticket = 0;
      for (int b = 0; b < grid; ++b) next[b] = b;
      for (bool any = true; any;) {
        any = false;
        for (int b = 0; b < grid; ++b) {
          if (next[b] >= items) continue;
          ++done[next[b]], any = true;
          next[b] = grid + static_cast<int>(ticket);
          ticket = ticket >= unsigned(items) - 1 ? 0 : ticket + 1;  // atomicInc
        }
      }
      EXPECT_EQ(ticket, 0u);
      EXPECT_EQ(std::count(done.begin(), done.end(), 1), items);
    }
}

TEST(CudaFlash3Layout, PlansAreForTheirHeads) {
  for (int max_k : {1, 512, 513, 2048, 16384})
    for (bool dropout : {false, true}) {
      for (int dim : {8, 64}) {
        const Flash3Plan plan = flash3_forward_plan(dim, max_k, dropout);
        EXPECT_TRUE(plan == Flash3Plan::three_warpgroups || plan == Flash3Plan::four_warpgroups);
      }
      for (int dim : {72, 128}) {
        const Flash3Plan plan = flash3_forward_plan(dim, max_k, dropout);
        EXPECT_TRUE(plan == Flash3Plan::wide_heads || plan == Flash3Plan::wide_heads_in_turns);
      }
    }
}

}  // namespace
}  // namespace strobe::cuda
