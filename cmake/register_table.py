#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the registers and spills of every CUDA kernel within kernels/cuda/register_table.txt.

usage: register_table.py capture COMMAND...
           runs the compiler and stores what ptxas -v reports beside the object file, as OBJECT.ptxas
       register_table.py check COMPILER_VERSION TABLE OBJECT...
           compares those reports with the table; exit 1 and one line for each difference
       register_table.py lower COMPILER_VERSION TABLE OBJECT...
           writes what was measured, for kernels that the table does not know or that need less; raising a
           value is a decision and done by hand

The table's lines: `compiler VERSION`, `no_spills PATTERN` and `KERNEL ARCH REGISTERS SPILL_STORES SPILL_LOADS
STACK` (bytes). Another compiler than the table's counts differently: then only no_spills is enforced.
"""
import fnmatch
import pathlib
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
NAMES = ("registers", "spill store bytes", "spill load bytes", "stack bytes")


def parse_report(text):
    """{(kernel, arch): (registers, spill stores, spill loads, stack)} of ptxas -v output."""
    measured, key, frame = {}, None, None
    for line in text.splitlines():
        if match := ENTRY.search(line):
            key, frame = match.groups(), None
        elif match := SPILLS.search(line):
            # A function that the kernel calls reports its own frame: the kernel's is the first one.
            frame = frame or tuple(map(int, match.groups()))
        elif (match := REGISTERS.search(line)) and key:
            stack, stores, loads = frame or (0, 0, 0)
            measured[key] = (int(match.group(1)), stores, loads, stack)
            key = None
    return measured


class Table:
    def __init__(self, text):
        self.comments, self.compiler, self.no_spills, self.entries = [], "", [], {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                self.comments.append(line)
            elif words[0] == "compiler" and len(words) == 2:
                self.compiler = words[1]
            elif words[0] == "no_spills" and len(words) == 2:
                self.no_spills.append(words[1])
            elif len(words) == 6:
                self.entries[words[0], words[1]] = tuple(map(int, words[2:]))
            else:
                raise SystemExit(f"register table, line {number}: not understood: {line}")

    def text(self):
        lines = [*self.comments, f"compiler {self.compiler}", *(f"no_spills {p}" for p in self.no_spills)]
        rows = [(*key, *map(str, values)) for key, values in sorted(self.entries.items(), key=natural)]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(6)]
        for row in rows:
            cells = [row[i].ljust(widths[i]) if i < 2 else row[i].rjust(widths[i]) for i in range(6)]
            lines.append(" ".join(cells))
        return "\n".join(lines) + "\n"


def natural(item):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", " ".join(item[0]))]


def differences(table, measured, compiler):
    """What is wrong, as lines."""
    found = []
    same_compiler = compiler == table.compiler
    for (kernel, arch), values in sorted(measured.items(), key=natural):
        spills = values[1] + values[2]
        if spills and any(fnmatch.fnmatchcase(kernel, pattern) for pattern in table.no_spills):
            amount = f"{values[1]} bytes spill stores, {values[2]} loads"
            found.append(f"{kernel} {arch}: {amount}; must not spill")
        if not same_compiler:
            continue
        limit = table.entries.get((kernel, arch))
        if limit is None:
            found.append(f"{kernel} {arch}: not in the table; run `register_table.py lower`")
            continue
        for name, value, most in zip(NAMES, values, limit):
            if value > most:
                found.append(f"{kernel} {arch}: {value} {name}, the table allows {most}")
    architectures = {arch for _, arch in measured}
    if same_compiler:
        for key in sorted(table.entries.keys() - measured.keys()):
            if key[1] in architectures:
                found.append(f"{key[0]} {key[1]}: in the table but not built; remove the line")
    return found


def report_path(object_path):
    return pathlib.Path(str(object_path) + ".ptxas")


def capture(command):
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    noise = re.compile(r"^ptxas info|^\s+\d+ bytes stack frame")
    sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if not noise.match(line)))
    if done.returncode == 0 and "-o" in command:
        report_path(command[command.index("-o") + 1]).write_text(done.stderr)
    return done.returncode


def main(arguments):
    if len(arguments) >= 2 and arguments[0] == "capture":
        return capture(arguments[1:])
    if len(arguments) < 4 or arguments[0] not in ("check", "lower"):
        raise SystemExit(__doc__)
    action, compiler, path = arguments[0], arguments[1], pathlib.Path(arguments[2])
    compiler = ".".join(compiler.split(".")[:2])
    measured = {}
    for each in arguments[3:]:
        measured.update(parse_report(report_path(each).read_text()))
    if not measured:
        raise SystemExit("no kernel in any ptxas report: the objects were not built through `capture`")
    table = Table(path.read_text())
    if action == "lower":
        for key, values in measured.items():
            old = table.entries.get(key)
            table.entries[key] = tuple(map(min, old, values)) if old else values
        table.compiler = table.compiler or compiler
        path.write_text(table.text())
        return 0
    if compiler != table.compiler:
        print(f"register table: of compiler {table.compiler}, this is {compiler}; only spills are checked")
    found = differences(table, measured, compiler)
    for line in found:
        print(f"register table: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
