// Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes: Radford et al. 2019).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/data/pair_map.h"
#include "strobe/data/pool.h"
#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// The token that ends a document.
inline constexpr std::string_view end_of_text_token = "<|endoftext|>";

/// Tokens are bytes.
struct BpeVocabulary : Vocabulary {
  std::vector<std::array<int32_t, 2>> merges;  // pairs of ids, the earliest applied first
};

/// The order in which GPT-2's vocabulary lists the 256 bytes: the printable ones of Latin-1, then
/// the others. Element i is the byte whose id is i in a trained vocabulary.
const std::array<uint8_t, 256>& gpt2_byte_order();

/// Cuts text by gpt2_piece_end, then merges pairs within each piece, the pair of lowest rank
/// first and the leftmost of equal ones.
class ByteLevelBpe final : public TokenModel {
 public:
  /// Checks the vocabulary (every byte present, merges name tokens, each merge's result a token,
  /// nothing twice) and fails, naming `source`, if it is not a byte-level BPE.
  ByteLevelBpe(BpeVocabulary vocabulary, const std::string& source);
  ~ByteLevelBpe() override;

  const std::vector<std::array<int32_t, 2>>& merges() const { return merges_; }

  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids, bool continued) const override;
  std::string_view document_end() const override { return end_of_text_token; }
  uint64_t hash() const override;
  std::string to_json() const override;
  std::vector<NamedText> vocabulary_files() const override;
  std::string config_json(int64_t longest) const override;

 private:
  class Workspace;
  struct Merge {
    int32_t rank;
    int32_t result;
  };

  void merge_short(std::string_view piece, std::vector<int32_t>& out) const;
  void merge_long(std::string_view piece, Workspace& workspace, std::vector<int32_t>& out) const;
  const Merge* find(int32_t left, int32_t right) const;

  std::vector<std::array<int32_t, 2>> merges_;
  std::array<int32_t, 256> byte_ids_{};
  PairMap<Merge> merge_of_;
  mutable Pool<Workspace> workspaces_;  // so that words met before stay known
};

}  // namespace strobe
