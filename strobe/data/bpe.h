// Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes: Radford et al. 2019).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "strobe/data/pair_map.h"
#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// The order in which GPT-2's vocabulary lists the 256 bytes: the printable ones of Latin-1, then
/// the others. Element i is the byte whose id is i in a trained vocabulary.
const std::array<uint8_t, 256>& gpt2_byte_order();

/// Cuts text by gpt2_piece_end, then merges pairs within each piece, the pair of lowest rank
/// first and the leftmost of equal ones.
class ByteLevelBpe final : public TokenModel {
 public:
  /// Checks the vocabulary (every byte present, merges name tokens, each merge's result a token,
  /// nothing twice) and fails, naming `source`, if it is not a byte-level BPE.
  ByteLevelBpe(const Vocabulary& vocabulary, const std::string& source);
  ~ByteLevelBpe() override;

  void encode(std::string_view text, std::vector<int32_t>& out) const override;

 private:
  class Workspace;
  struct Merge {
    int32_t rank;
    int32_t result;
  };

  void encode_piece(std::string_view piece, Workspace& workspace, std::vector<int32_t>& out) const;
  void merge_short(std::string_view piece, std::vector<int32_t>& out) const;
  void merge_long(std::string_view piece, Workspace& workspace, std::vector<int32_t>& out) const;
  const Merge* find(int32_t left, int32_t right) const;

  std::array<int32_t, 256> byte_ids_{};
  PairMap<Merge> merges_;

  // Workspaces not in use. A call of encode takes one, so that words it has met stay known.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace strobe
