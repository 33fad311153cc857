"""Writes the demo's text: 106 English Wikipedia articles as prose, split by article.

The articles are a cut of a Wikipedia dump that the `gensim` wheel carries as test data. The wheel is
downloaded, not installed. mwparserfromhell strips the markup.
Usage: demo_text.py --out build/demo-text"""
import argparse
import bz2
import glob
import html
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
import zipfile

import mwparserfromhell

LICENSE = """This text is from the English Wikipedia and is used under the licence CC BY-SA
(https://creativecommons.org/licenses/by-sa/4.0/). Its authors are those of the articles named by the
"= Title =" lines, listed in each article's history at https://en.wikipedia.org. Source: the file
{member}
of the PyPI package gensim, a cut of a dump of the English Wikipedia. The markup was removed, and with
it references, tables, captions and lists of links.
"""
DROPPED_SECTIONS = {"see also", "references", "external links", "further reading", "notes", "bibliography", "sources",
                    "footnotes", "citations", "notes and references", "references and notes", "gallery"}
DROPPED_TAGS = {"ref", "table", "gallery", "math", "timeline", "imagemap", "score", "div", "references", "code", "source"}
LINK_PREFIX = re.compile(r"^:?(file|image|category|media|[a-z]{2,3}(-[a-z]+)?|simple|wikt|commons):", re.I)


def wheel(cache):
    found = glob.glob(str(cache / "gensim-*.whl"))
    if not found:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                        "--only-binary=:all:", "-d", str(cache), "gensim"], check=True)
        found = glob.glob(str(cache / "gensim-*.whl"))
    return found[0]


def articles(stream):
    title = namespace = None
    for _, element in xml.iterparse(stream):
        tag = element.tag.rsplit("}", 1)[-1]
        if tag == "title":
            title = element.text
        elif tag == "ns":
            namespace = element.text
        elif tag == "text" and namespace == "0" and element.text and not element.text.lower().startswith("#redirect"):
            yield title, element.text
        if tag == "page":
            element.clear()


def drop(code, node):
    try:
        code.remove(node)
    except ValueError:
        pass  # went with a node around it


def prose(markup):
    markup = re.sub(r"<!--.*?-->", "", markup, flags=re.S)
    markup = re.sub(r"^\{\|.*?^\|\}", "", markup, flags=re.S | re.M)
    code = mwparserfromhell.parse(markup)
    for heading in list(code.filter_headings()):
        if heading.title.strip_code().strip().lower() in DROPPED_SECTIONS:
            for section in code.get_sections(matches=lambda t, h=heading: t.strip() == str(h.title).strip(),
                                             levels=[heading.level]):
                drop(code, section)
    for node in list(code.ifilter_templates(recursive=False)):
        drop(code, node)
    for node in list(code.filter_tags()):
        if str(node.tag).lower() in DROPPED_TAGS:
            drop(code, node)
    for node in list(code.filter_wikilinks()):
        if LINK_PREFIX.match(str(node.title).strip()):
            drop(code, node)
    lines = []
    for line in html.unescape(code.strip_code(normalize=True, collapse=True)).split("\n"):
        line = re.sub(r"\s+", " ", line.replace("\xa0", " ")).strip()
        line = re.sub(r"'{2,}|__[A-Z]+__", "", line)
        line = re.sub(r"<ref.*", "", line)  # a reference that was never closed
        # What removed templates leave in brackets.
        line = re.sub(r"\(\s*[;,](\s*[;,])*\s*", "(", line)
        line = re.sub(r"\s*[;,]+\s*\)", ")", line)
        line = re.sub(r"\(\s*\)", "", line)
        line = re.sub(r" +([,.;:)])", r"\1", re.sub(r" {2,}", " ", line)).strip()
        # Tables' and templates' remains, list items of links, headings without text of their own.
        if len(line.split()) < 8 or re.search(r"\{\||\|\}|\{\{|\}\}|\[\[|\]\]|^[|!*#:;]|\|thumb|\|\|", line):
            continue
        lines.append(line)
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments = arguments.parse_args()
    partial = arguments.out.with_name(arguments.out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel(arguments.out.parent)) as archive:
        member = next(n for n in archive.namelist() if "enwiki-latest-pages-articles1" in n and n.endswith("shortened.bz2"))
        with archive.open(member) as packed, bz2.open(packed) as stream:
            texts = [(title, prose(markup)) for title, markup in articles(stream)]
    splits = {"train": [], "valid": [], "test": []}
    for number, (title, text) in enumerate(t for t in texts if t[1]):
        name = {5: "valid", 15: "test"}.get(number % 20, "train")
        splits[name].append(f"= {title} =\n\n{text}\n\n")
    for name, parts in splits.items():
        (partial / f"{name}.txt").write_text("".join(parts))
        print(f"{name}: {len(parts)} articles, {sum(map(len, parts)) / 1e6:.2f} M characters")
    (partial / "LICENSE.txt").write_text(LICENSE.format(member=member))
    partial.rename(arguments.out)


if __name__ == "__main__":
    main()
