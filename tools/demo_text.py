#!/usr/bin/env python3
"""Makes the demo's text: the 106 Wikipedia articles that the PyPI wheel of gensim carries for its
own tests, as prose with `= Title =` headers, in train.txt, valid.txt and test.txt.

usage: demo_text.py [--out build/demo-text] [--wheels build/wheels]
"""
import argparse
import bz2
import fnmatch
import html
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile

import mwparserfromhell
from mwparserfromhell import nodes

WHEEL = "gensim==4.4.0"
DUMP = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-*-shortened.bz2"

# Sections that are no prose; they go with their subsections.
DROPPED_SECTIONS = {
    "see also", "references", "external links", "further reading", "notes", "bibliography",
    "sources", "footnotes", "citations", "notes and references", "references and notes", "gallery",
    "works cited", "literature", "publications", "selected bibliography", "discography",
    "filmography", "external sources", "general references", "primary sources",
    "secondary sources", "in-line citations", "endnotes", "related links", "links",
}
# Tags whose content is no prose.
DROPPED_TAGS = {
    "ref", "references", "table", "gallery", "math", "timeline", "imagemap", "score", "code", "pre",
    "syntaxhighlight", "source", "noinclude", "includeonly", "chem", "hiero", "graph", "section",
    "tr", "td", "th", "nowiki",
}
DROPPED_LINKS = ("file:", "image:", "category:", "media:", "wikt:", "wikipedia:", "template:",
                 "portal:", "help:")
# Templates that stand for words of the sentence around them. The rest is boxes and notes.
SYMBOLS = {"ndash": "–", "mdash": "—", "spaced ndash": " – ", "snd": " – ", "nbsp": " ", "'": "'",
           "endash": "–", "emdash": "—", "dash": " – ", "spaces": " ", "'s": "'s", "!": "|",
           "pi": "π", "times": "×", "minus": "−"}
FIRST_ARGUMENT = {"nowrap", "nobr", "small", "big", "smallcaps", "sic", "abbr", "transl", "em",
                  "strong", "noitalic", "sup", "sub", "gaps", "val", "as of", "frac", "okina",
                  "unicode", "ipac-en-text", "visible anchor", "vanchor", "quote", "blockquote",
                  "cquote", "mvar", "linktext", "mono", "tt", "ill", "interlanguage link", "sfrac"}
SECOND_ARGUMENT = {"lang", "transliteration"}


def argument(template, number):
    name = str(number)
    return prose(template.get(name).value) if template.has(name) else ""


def template_text(template):
    name = str(template.name).strip().lower().replace("_", " ")
    if name in SYMBOLS:
        return SYMBOLS[name]
    if name in FIRST_ARGUMENT:
        return argument(template, 1)
    if name in SECOND_ARGUMENT:
        return argument(template, 2)
    if name.startswith("lang-"):
        return argument(template, 1)
    if name in ("convert", "cvt"):
        return " ".join(filter(None, (argument(template, 1), argument(template, 2))))
    if name == "as of":
        return "As of " + argument(template, 1)
    return ""


# Marks a line of a list.
LIST_ITEM = "\x01"


def prose(code):
    """The words of parsed wikitext."""
    out = []
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            out.append(str(node.value))
        elif isinstance(node, nodes.HTMLEntity):
            out.append(node.normalize())
        elif isinstance(node, nodes.Template):
            out.append(template_text(node))
        elif isinstance(node, nodes.Wikilink):
            title = str(node.title).strip()
            if not title.lower().lstrip(":").startswith(DROPPED_LINKS):
                out.append(prose(node.text) if node.text is not None else title.lstrip(":"))
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                out.append(prose(node.title))
        elif isinstance(node, nodes.Tag):
            name = str(node.tag).strip().lower()
            if node.wiki_markup in ("*", "#", ";", ":"):
                out.append(LIST_ITEM)
            elif name == "br":
                out.append(" ")
            elif name not in DROPPED_TAGS and node.contents is not None:
                out.append(prose(node.contents))
    return "".join(out)


def joint(text, end):
    """What stands between a line that ends at `end` and the next: nothing continues a list item."""
    return "\n" if LIST_ITEM in text[text.rfind("\n", 0, end) + 1:end] else " "


def tidy(text):
    """Paragraphs a line, without what the removed markup leaves behind."""
    text = html.unescape(text).replace("\xa0", " ").replace("\u200b", "")
    text = re.sub(r"'{2,}", "", text)
    # A single line end does not end a paragraph, unless lists begin there.
    text = re.sub(rf"(?<=[^\n])\n(?=[^\n{LIST_ITEM}])", lambda m: joint(text, m.start()), text)
    lines = []
    for line in text.split("\n"):
        item = LIST_ITEM in line
        line = re.sub(r"[ \t]+", " ", line.replace(LIST_ITEM, "")).strip()
        # "(; listen)" -> "(listen)", "()" -> "".
        for _ in range(3):
            line = re.sub(r"\(\s*[;,:]\s*", "(", line)
            line = re.sub(r"\s*[;,:]?\s*\)", ")", line)
            line = re.sub(r"\s*\(\s*\)", "", line)
            line = re.sub(r"\(\s+", "(", line)
        line = re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", line)
        if re.search(r"\[\[|\]\]|\{\{|\}\}|^[|!<]|^(thumb|left|right|center)\|", line):
            continue
        # Items of lists, captions and the words that introduce a list are mostly no sentences.
        sentence = re.search(r"[.!?][\"'”’)]*$", line)
        if sentence and len(line) >= (60 if item else 20) or not item and len(line) > 200:
            lines.append(line)
    return lines


def one_line(code):
    """The words of a heading."""
    return " ".join(html.unescape(prose(code)).replace("\xa0", " ").split())


def article(title, source):
    """The article as text, or "" if nothing of it is left."""
    # Notes and comments first: the parser takes an unbalanced one for text.
    source = re.sub(r"<!--.*?-->", "", source, flags=re.S)
    source = re.sub(r"<ref\b[^>]*/>|<ref\b[^>]*>.*?</ref\s*>", "", source, flags=re.S | re.I)
    source = re.sub(r"__[A-Z]+__", "", source)
    code = mwparserfromhell.parse(source)
    dropped_at = None  # the level of a section that is left out
    blocks, waiting = [], []

    def close(parts):
        lines = tidy(prose(mwparserfromhell.wikicode.Wikicode(parts)))
        if lines:
            blocks.extend(waiting)
            waiting.clear()
            blocks.extend(lines)

    parts = []
    for node in code.nodes:
        if not isinstance(node, nodes.Heading):
            if dropped_at is None:
                parts.append(node)
            continue
        close(parts)
        parts = []
        name = one_line(node.title)
        if dropped_at is not None and node.level > dropped_at:
            continue
        dropped_at = node.level if name.lower() in DROPPED_SECTIONS else None
        # A heading is written once text follows it, and only below headings of higher levels.
        while waiting and waiting[-1].split(" ")[0].count("=") >= node.level:
            waiting.pop()
        if dropped_at is None and name:
            marks = "=" * max(2, node.level)
            waiting.append(f"{marks} {name} {marks}")
    close(parts)
    return f"= {title} =\n\n" + "\n\n".join(blocks) + "\n\n" if blocks else ""


def pages(dump):
    """(title, wikitext) of each article that is no redirect."""
    for _, element in ElementTree.iterparse(dump):
        if element.tag.rsplit("}", 1)[-1] != "page":
            continue
        find = lambda name: element.find(".//{*}" + name)
        if find("ns").text == "0" and find("redirect") is None:
            yield find("title").text, find("text").text or ""
        element.clear()


def fetch_dump(wheels):
    """The dump inside the wheel, which is downloaded unless it is there."""
    os.makedirs(wheels, exist_ok=True)
    there = lambda: sorted(fnmatch.filter(os.listdir(wheels), "gensim-*.whl"))
    if not there():
        print(f"downloading {WHEEL} from PyPI (28 MB)", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--only-binary", ":all:", "--disable-pip-version-check", "--dest", wheels,
                        WHEEL], check=True)
    wheel = zipfile.ZipFile(os.path.join(wheels, there()[-1]))
    found = fnmatch.filter(wheel.namelist(), DUMP)
    if not found:
        sys.exit(f"demo_text: {wheel.filename} holds no {DUMP}; {WHEEL} does")
    return wheel.open(found[0]), os.path.basename(found[0])


def split_of(number):
    """Of every 20 articles 18 are for training, one for validation, one for the test."""
    return {9: "valid", 19: "test"}.get(number % 20, "train")


def write(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".partial", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="build/demo-text")
    parser.add_argument("--wheels", default="build/wheels", help="where the wheel is kept")
    options = parser.parse_args()
    packed, name = fetch_dump(options.wheels)
    splits = {"valid": [], "test": [], "train": []}  # train.txt last: it says that all is done
    titles = []
    for title, source in pages(bz2.open(packed)):
        text = article(title, source)
        if text:
            splits[split_of(len(titles))].append(text)
            titles.append(title)
    write(options.out, "LICENSE.txt",
          "The text in train.txt, valid.txt and test.txt is from the English Wikipedia, by its\n"
          "authors, under the Creative Commons Attribution-ShareAlike License\n"
          "(https://creativecommons.org/licenses/by-sa/3.0/). The markup, tables, lists, references\n"
          "and captions were removed. Each article's authors are in the history of\n"
          "https://en.wikipedia.org/wiki/TITLE.\n\n"
          f"Source: {name}, a part of Wikipedia's dump of April 2016,\n"
          f"in the PyPI package {WHEEL}.\n\nArticles: " + ", ".join(titles) + ".\n")
    for split, articles in splits.items():
        write(options.out, split + ".txt", "".join(articles))
        size = sum(len(text.encode()) for text in articles)
        print(f"{options.out}/{split}.txt: {len(articles)} articles, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
