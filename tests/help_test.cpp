// What the program says of itself.
#include <gtest/gtest.h>

#include "tests/reference/program_test.h"

namespace strobe {
namespace {

class Help : public reference::ProgramTest {
 protected:
  // That the help of a verb has the option, its type and the default, which versions of CLI11 write
  // in two ways.
  void expect_default(const std::string& verb, const std::string& option,
                      const std::string& value) {
    const std::string out = strobe(verb + " --help");
    EXPECT_TRUE(out.find(option + "=" + value) != std::string::npos ||
                out.find(option + " [" + value + "]") != std::string::npos)
        << option << " " << value << "\n"
        << out;
  }
};

TEST_F(Help, NamesDefaults) {
  expect_default("generate", "--max-new-tokens INTEGER", "100");
  expect_default("data prepare", "--valid NUMBER", "0.05");
  expect_default("data prepare", "--tokenizer TEXT", "train:2048");
  expect_default("finetune", "--label-column TEXT", "label");
  const std::string none = strobe("study run --help");
  EXPECT_EQ(none.find("=-"), std::string::npos) << none;
  EXPECT_EQ(none.find("[-"), std::string::npos) << none;
}

TEST_F(Help, IsAVerbToo) {
  EXPECT_EQ(strobe("help train"), strobe("train --help"));
  EXPECT_EQ(strobe("help study run"), strobe("study run --help"));
  EXPECT_EQ(strobe("help"), strobe("--help"));
}

// Whatever follows the verb, it is not run.
TEST_F(Help, OfAVerbAndMoreWordsIsTheVerbs) {
  EXPECT_EQ(strobe("help list optimizers"), strobe("list --help"));
  EXPECT_EQ(strobe("help train a.toml"), strobe("train --help"));
  EXPECT_EQ(strobe("help train train"), strobe("train --help"));
  EXPECT_EQ(strobe("help train --dry-run"), strobe("train --help"));
  EXPECT_EQ(strobe("help study of mine"), strobe("study --help"));
  expect_refused("help trian", "did you mean 'train'?");
}

TEST_F(Help, ListsTheWholeCatalogueUnlessAskedForAPart) {
  EXPECT_EQ(strobe("list"), strobe("list all"));
}

}  // namespace
}  // namespace strobe
