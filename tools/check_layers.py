"""Holds the includes to the order of the layers: a folder may include folders to its left, except
that cpu and cuda see only core and ops, report sees core and config, and only ops/make_backend.cpp
names a backend. Files of cpu/isa include nothing but each other (see CMakeLists.txt). No two files
define a type of one name in one named namespace: a program that links both keeps either (ODR)."""
import pathlib, re, sys

LAYERS = "core config data ops cpu cuda model optim dist io train report study".split()
ONLY = {"cpu": {"core", "ops", "cpu"}, "cuda": {"core", "ops", "cuda"}, "report": {"core", "config", "report"}}
DEVICES = {"cpu", "cuda"}
ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 500  # lines of a file that people write


def sources(*folders):
    return [p for d in folders for p in sorted((ROOT / d).rglob("*")) if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]


def types(path):
    """The qualified names of the types a file defines in named namespaces."""
    inside = []
    for line in path.read_text().split("\n"):
        if opened := re.match(r"namespace ?([\w:]*) \{$", line):
            inside.append(opened[1])
        elif line.startswith("}  // namespace"):
            inside.pop()
        elif (found := re.match(r"(?:struct|class|enum|enum class) (\w+)(?: final)?(?: :[^:].*)? \{", line)) and "" not in inside:
            yield "::".join([*inside, found[1]])


def twice_defined():
    first = {}
    for path in sources("strobe", "apps", "tests"):
        name = path.relative_to(ROOT).as_posix()
        for type_ in types(path):
            if first.setdefault(type_, name) != name:
                yield f"{name}: {type_} is defined in {first[type_]} too"


def problems():
    yield from twice_defined()
    for path in sources("strobe", "apps"):
        name = path.relative_to(ROOT).as_posix()
        lines = path.read_text().split("\n")
        if len(lines) > LONGEST and not lines[0].startswith("// Made by "):
            yield f"{name}: {len(lines)} lines; {LONGEST} is the most"
        for number, line in enumerate(lines, 1):
            found = re.match(r'\s*#include "(strobe|apps|tests)/([a-z_0-9]+)[/.]', line)
            if not found:
                continue
            if name.startswith("apps/"):
                if found[1] == "strobe" and found[2] in DEVICES:
                    yield f"{name}:{number}: apps may not see {found[2]}"
                continue
            layer, seen = name.split("/")[1], found[2]
            if found[1] != "strobe" or seen not in LAYERS:
                yield f"{name}:{number}: strobe may not include {found[1]}/{seen}"
            elif "/cpu/isa/" in f"/{name}" and "strobe/cpu/isa/" not in line:
                yield f"{name}:{number}: cpu/isa includes only itself"
            elif name == "strobe/ops/make_backend.cpp" and seen in DEVICES:
                continue
            elif layer in ONLY and seen not in ONLY[layer]:
                yield f"{name}:{number}: {layer} sees only {', '.join(sorted(ONLY[layer]))}"
            elif seen in DEVICES and layer not in DEVICES:
                yield f"{name}:{number}: only ops/make_backend.cpp names a backend"
            elif LAYERS.index(seen) > LAYERS.index(layer):
                yield f"{name}:{number}: {layer} is below {seen}"


found = list(problems())
print("\n".join(found) or "layers: clean")
sys.exit(bool(found))
