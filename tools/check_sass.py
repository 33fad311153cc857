#!/usr/bin/env python3
"""check_sass.py [LIBRARY]: what the compiler made of the kernels that multiply by wgmma.

Of each, from its SASS: how many products, HGMMA (bf16) or QGMMA (e4m3), and accesses to local
memory. Wrong are those (spills), products that the compiler runs one after another, and registers
of products in flight, accumulators or left operands, that some path reads or writes before it
waits for them: a data flow over the whole control-flow graph. Ends with 1 if anything is wrong.
Needs cuobjdump and nvdisasm, of the CUDA toolkit.
"""
import re
import shutil
import subprocess
import sys
from collections import defaultdict

# Their first operand is no destination.
NO_RESULT = ("ST", "RED", "ATOM", "BAR", "SYNCS", "UTMA", "UBLK", "MEMBAR", "BRA", "EXIT", "BSYNC",
             "BSSY", "R2UR", "ISETP", "FSETP", "WARPSYNC", "VOTE", "FENCE", "REDUX", "NOP",
             "ERRBAR", "CCTL")

# Older ones are taken together: nobody waits for all but more than three.
MOST_GROUPS = 4


def functions(sass):
    """Name and [(address, predicated, opcode, operands)] of each function."""
    name, code = "", []
    for line in sass.splitlines():
        if m := re.match(r"\s*Function : (\S+)", line):
            if code:
                yield name, code
            name, code = m[1], []
        elif m := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+ )?(\S+?)( .*?)?\s*;", line):
            operands = [x.strip() for x in (m[4] or "").split(",")]
            code.append((int(m[1], 16), bool(m[2]), m[3], operands))
    if code:
        yield name, code


def registers(operand):
    return [int(x) for x in re.findall(r"(?<![A-Z])R(\d+)", operand)]


class Flow:
    """The states in which an instruction may be reached: products in flight, in groups
    (accumulators, left operands, committed), and where BSYNC goes for each barrier register."""

    def __init__(self, code):
        self.code = code
        self.index = {address: i for i, (address, *_) in enumerate(code)}
        self.wrong = set()

    def run(self):
        seen, work = defaultdict(set), [(0, (), ())]
        while work:
            i, flying, targets = state = work.pop()
            if i >= len(self.code) or (flying, targets) in seen[i]:
                continue
            seen[i].add((flying, targets))
            work += self.step(*state)
        return self.wrong

    def step(self, i, flying, targets):
        address, predicated, opcode, operands = self.code[i]
        base = opcode.split(".")[0]
        if base in ("HGMMA", "QGMMA"):
            flying = self.multiply(address, opcode, operands, flying)
        elif opcode.startswith("WARPGROUP.DEPBAR"):
            left = int(operands[-1], 16)
            groups, begun = [g for g in flying if g[2]], [g for g in flying if not g[2]]
            flying = tuple((groups[-left:] if left else []) + begun)
        elif base != "WARPGROUP":
            self.touch(address, opcode, operands, flying)
        goal = next((int(x, 16) for x in re.findall(r"\b0x([0-9a-f]+)\b", operands[-1])), None)
        if base == "BSSY":
            return [(i + 1, flying, tuple(sorted({**dict(targets), operands[0]: goal}.items())))]
        if base == "BSYNC":
            goal = dict(targets)[operands[0]]
            targets = tuple(x for x in targets if x[0] != operands[0])
        if base == "EXIT":
            return [(i + 1, flying, targets)] if predicated else []
        if base in ("BRA", "BSYNC"):
            conditional = predicated or base == "BRA" and len(operands) > 1
            after = [(self.index[goal], flying, targets)] if goal in self.index else []
            conditional |= opcode.startswith("BRA.")
            return after + ([(i + 1, flying, targets)] if conditional else [])
        return [(i + 1, flying, targets)]

    def multiply(self, address, opcode, operands, flying):
        columns, first = int(re.search(r"64x(\d+)x", opcode)[1]), registers(operands[0])[0]
        sums = frozenset(range(first, first + columns // 2))
        left = frozenset()
        if not operands[1].startswith("gdesc"):
            first = registers(operands[1])[0]
            left = frozenset(range(first, first + 4))
        for group in flying:
            other = group[2] and group[0] & sums and group[0] != sums
            if other or left & group[0] or sums & group[1]:
                self.wrong.add((address, opcode))
        groups = list(flying)
        if groups and not groups[-1][2]:
            before = groups.pop()
            sums, left = sums | before[0], left | before[1]
        groups.append((sums, left, any("gsb0" in x for x in operands)))
        if len(groups) > MOST_GROUPS:
            groups[:2] = [(groups[0][0] | groups[1][0], groups[0][1] | groups[1][1], True)]
        return tuple(groups)

    def touch(self, address, opcode, operands, flying):
        written, read = set(), set()
        if opcode.startswith(NO_RESULT):
            read = {r for x in operands for r in registers(x)}
        else:
            width = 4 if ".128" in opcode else 2 if ".64" in opcode or ".WIDE" in opcode else 1
            for r in registers(operands[0])[:1]:
                written = set(range(r, r + width))
            read = {r for x in operands[1:] for r in registers(x)}
        for sums, left, _ in flying:
            if written & (sums | left) or read & sums:
                self.wrong.add((address, opcode))


def tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
    if not path:
        sys.exit(f"check_sass: no {name} here; the CUDA toolkit has it")
    return path


def main():
    library = sys.argv[1] if len(sys.argv) > 1 else "build/libstrobe_cuda.so"
    command = [tool("cuobjdump"), "-sass", "-arch", "sm_90a", library]
    sass = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    names = shutil.which("c++filt") or "echo"
    bad = 0
    for name, code in functions(sass):
        count = defaultdict(int)
        for _, _, opcode, _ in code:
            count[opcode.split(".")[0]] += 1
        products = count["HGMMA"] + count["QGMMA"]
        if not products:
            continue
        groups = sum(opcode == "WARPGROUP.ARRIVE" for _, _, opcode, _ in code)
        wrong = sorted(Flow(code).run())
        serial = groups >= products
        shown = subprocess.run([names, name], text=True, capture_output=True).stdout.strip()
        shown = re.sub(r"strobe::cuda::|\(anonymous namespace\)::|^void |\((?=Atten|CUten).*", "", shown)
        spilled = count["STL"] + count["LDL"] > 0
        bad += bool(wrong) + serial + spilled
        counts = " ".join(f"{count[x]:3} {x}" for x in ("HGMMA", "QGMMA", "LDL", "STL"))
        print(f"{counts}  {shown[:100]}" + ("  ONE AFTER ANOTHER" if serial else "")
              + ("  SPILLS" if spilled else ""))
        for address, opcode in wrong[:8]:
            print(f"       {address:x} {opcode}: touches a register of a product in flight")
    print(f"check_sass: {'clean' if not bad else f'{bad} kernels are wrong'}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
