#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the check of registers and spills fails where it must: on real ptxas output, with tables that
are exact, too low, too high, incomplete or of another compiler.

usage: register_table_test.py SCRIPT
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = sys.argv.pop(1)

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'strata_a' for 'sm_80'
ptxas info    : Function properties for strata_a
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 8 bytes cumulative stack size, 384 bytes cmem[0]
ptxas info    : Compile time = 204.222 ms
ptxas info    : Compiling entry function 'strata_b' for 'sm_90a'
ptxas info    : Function properties for strata_b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers
"""
EXACT = "compiler 13.0\nstrata_a sm_80 64 12 16 8\nstrata_b sm_90a 168 0 0 0\n"


class RegisterTable(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.object = pathlib.Path(folder.name, "kernel.o")
        self.table = pathlib.Path(folder.name, "table.txt")
        pathlib.Path(str(self.object) + ".ptxas").write_text(REPORT)

    def run_script(self, action, table, compiler="13.0.88"):
        self.table.write_text(table)
        command = [sys.executable, SCRIPT, action, compiler, self.table, self.object]
        return subprocess.run(command, capture_output=True, text=True)

    def check(self, table, compiler="13.0.88"):
        done = self.run_script("check", table, compiler)
        return done.returncode, done.stdout

    def test_what_the_table_says_passes_and_so_does_less(self):
        self.assertEqual(self.check(EXACT), (0, ""))
        self.assertEqual(self.check(EXACT.replace(" 168 ", " 255 ")), (0, ""))

    def test_any_value_above_its_entry_fails_and_names_kernel_and_value(self):
        for old, new, name in [(" 64 12", " 63 12", "64 registers"), (" 12 ", " 11 ", "12 spill store bytes"),
                               (" 16 ", " 15 ", "16 spill load bytes"), (" 8\n", " 7\n", "8 stack bytes")]:
            code, text = self.check(EXACT.replace(old, new))
            self.assertEqual(code, 1)
            self.assertIn(f"strata_a sm_80: {name}, the table allows", text)

    def test_a_spill_where_none_is_allowed_fails_for_every_compiler(self):
        code, text = self.check("no_spills strata_*\n" + EXACT)
        self.assertEqual(code, 1)
        self.assertIn("strata_a sm_80: 12 bytes spill stores, 16 loads; must not spill", text)
        self.assertEqual(self.check("no_spills strata_*\n" + EXACT, "12.8.1")[0], 1)
        self.assertEqual(self.check("no_spills strata_b*\n" + EXACT)[0], 0)

    def test_another_compiler_is_not_held_to_the_numbers(self):
        code, text = self.check(EXACT.replace(" 168 ", " 100 "), "13.1.20")
        self.assertEqual((code, "only spills are checked" in text), (0, True))

    def test_a_kernel_without_entry_and_an_entry_without_kernel_fail(self):
        code, text = self.check(EXACT.replace("strata_b ", "strata_c "))
        self.assertEqual(code, 1)
        self.assertIn("strata_b sm_90a: not in the table", text)
        self.assertIn("strata_c sm_90a: in the table but not built", text)
        # An architecture that this build leaves out is no difference.
        self.assertEqual(self.check(EXACT + "strata_a sm_120 1 0 0 0\n")[0], 0)

    def test_a_line_that_is_not_understood_is_an_error(self):
        self.assertNotEqual(self.check(EXACT + "strata_a sm_80 64\n")[0], 0)

    def test_lowering_never_raises_and_adds_what_is_new(self):
        self.run_script("lower", "# why\ncompiler 13.0\nno_spills x_*\nstrata_a sm_80 70 12 2 8\n")
        lines = [line.split() for line in self.table.read_text().splitlines()]
        self.assertEqual(lines, [["#", "why"], ["compiler", "13.0"], ["no_spills", "x_*"],
                                 ["strata_a", "sm_80", "64", "12", "2", "8"],
                                 ["strata_b", "sm_90a", "168", "0", "0", "0"]])

    def test_capture_keeps_the_report_and_the_exit_code_and_hides_the_noise(self):
        shell = f"printf '%s' \"{REPORT}\" >&2; echo kernel.cu: warning >&2; exit $0"
        for code in (0, 3):
            target = self.object.with_name(f"out{code}.o")
            command = [sys.executable, SCRIPT, "capture", "sh", "-c", shell, str(code), "-o", target]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (code, "kernel.cu: warning\n"))
            report = pathlib.Path(str(target) + ".ptxas")
            self.assertEqual(report.exists(), code == 0)
            if code == 0:
                self.assertTrue(report.read_text().startswith(REPORT))


if __name__ == "__main__":
    unittest.main()
