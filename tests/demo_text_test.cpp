// tools/demo_text.py: what it leaves of wikitext. Needs a Python with mwparserfromhell.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "strobe/core/file.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

const char* const wikitext =
    R"({{Infobox|name=River}}
'''The river''' is {{convert|12|km}} long,<ref name="a">A {{cite web}} note.</ref><ref name="a"/> and
runs by the [[water mill|mill]] of [[Rome]] ({{IPA|x}}).<!-- a comment -->
[[File:River.jpg|thumb|The river in [[spring]].]]
{| class="wikitable"
| a cell in a table that must not be seen.
|}
== Course ==
* item
It runs past ''many'' towns and it &ndash; at last &mdash; reaches the sea.
=== Empty ===
{{main|Nothing}}
== References ==
A book about the river, which is long enough to be a sentence.
=== Of the references ===
Another book about the river, which is also long enough.
== Notes ==
{{reflist}}
[[Category:Rivers]]
__NOTOC__
)";

const char* const expected =
    "= River =\n\n"
    "The river is 12 km long, and runs by the mill of Rome.\n\n"
    "== Course ==\n\n"
    "It runs past many towns and it – at last — reaches the sea.\n\n";

TEST(DemoText, LeavesProse) {
  std::string python;
  for (const std::string candidate : {STROBE_SOURCE_DIR "/build/venv/bin/python", "python3"})
    if (python.empty() &&
        std::system((candidate + " -c 'import mwparserfromhell' 2>/dev/null").c_str()) == 0)
      python = candidate;
  if (python.empty()) GTEST_SKIP() << "*** no Python with mwparserfromhell: NOT TESTED ***";
  const reference::TemporaryFolder folder;
  const std::string in = folder.path() + "/in", out = folder.path() + "/out";
  std::ofstream(in) << wikitext;
  const std::string command = python +
                              " -c 'import sys; sys.path.insert(0, \"" STROBE_SOURCE_DIR
                              "/tools\"); import demo_text; "
                              "open(sys.argv[2], \"w\").write(demo_text.article(\"River\", "
                              "open(sys.argv[1]).read()))' " +
                              in + " " + out;
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(read_file("test", out, 1 << 20), expected);
}

}  // namespace
}  // namespace strobe
