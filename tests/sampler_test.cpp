// What a model writes: how tokens are chosen, from which prompts, and as what text.
#include "strobe/train/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "strobe/core/error.h"
#include "strobe/model/model.h"

namespace strobe {
namespace {

TEST(Sampler, HandsOutWellFormedTextOnly) {
  const auto fed = [](const std::vector<std::string>& tokens) {
    std::vector<std::string> out;
    std::string pending;
    for (const std::string& token : tokens)
      pending += token, out.push_back(take_characters(pending, false));
    out.push_back(take_characters(pending, true));
    EXPECT_EQ(pending, "");
    return out;
  };
  using Texts = std::vector<std::string>;
  const std::string euro = "\xE2\x82\xAC", unknown = "\xEF\xBF\xBD";
  EXPECT_EQ(fed({"a\xE2", "\x82", "\xAC", "b"}), (Texts{"a", "", euro, "b", ""}));
  EXPECT_EQ(fed({"a\x82", "b"}), (Texts{"a" + unknown, "b", ""}));  // a lone continuation
  EXPECT_EQ(fed({"\xE2", "b"}), (Texts{"", unknown + "b", ""}));    // never completed
  EXPECT_EQ(fed({"\xF0\x9F\x98"}), (Texts{"", unknown}));           // half, at the end
  EXPECT_EQ(fed({"\xC0", "\xFF"}), (Texts{unknown, unknown, ""}));  // begin no character
  EXPECT_EQ(fed({"\xE0\x80"}), (Texts{unknown + unknown, ""}));     // overlong
  EXPECT_EQ(fed({euro + "\xED\xA0"}), (Texts{euro + unknown + unknown, ""}));  // a surrogate
}

TEST(Sampler, RefusesLogitsThatAreNone) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const double temperature : {0.0, 1.0}) {
      RandomSequence random(1, RandomUse::sample, 0);
      std::vector<float> logits(1000, 0.5f);
      logits[7] = bad;
      EXPECT_THROW(sample(logits, {.temperature = temperature}, random), Error);
    }
}

// A WordPiece has no token for white space.
TEST(Sampler, StartsAnewAfterAPromptWithoutATokenToRead) {
  const Tokenizer tokenizer = Tokenizer::load(STROBE_SOURCE_DIR "/tests/data/wordpiece_hf.json");
  Config config;
  config.backend = "cpu";
  config.model.layers = 1, config.model.channels = 32, config.model.heads = 2;
  config.model.context = 8;
  Engine engine(config, tokenizer.vocab_size(), {.decode_capacity = 6});
  engine.allocate();
  initialise_params(engine.ops(), engine.model(), 1);
  for (const char* prompt : {"", " ", "a"}) {
    std::string text;
    generate(engine, tokenizer, prompt, 5, {}, [&](std::string_view part) { text += part; }, {});
    EXPECT_NE(text, "") << "after '" << prompt << "'";
  }
}

}  // namespace
}  // namespace strobe
