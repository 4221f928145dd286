#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rehearses tools/gpu_check on a machine without a GPU: the real program on its CPU executor, test programs
that print what GoogleTest prints, one fault at a time. A card is rare; the script must not fail on its day.

usage: gpu_check_test.py GPU_CHECK STRATA HAS_CUDA
HAS_CUDA: 1 where STRATA was built with CUDA, 0 where it was not.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HAS_CUDA = sys.argv.pop(3) == "1"
STRATA = sys.argv.pop(2)
SCRIPT = sys.argv.pop(1)

PASSED = "[==========] 4 tests from 2 test suites ran. (3 ms total)\n[  PASSED  ] 4 tests.\n"
SKIPPED = ("[ RUN      ] Nccl.SendsToItself\nnccl_test.cpp:20: Skipped\nnot run: no NCCL here\n\n"
           "[  SKIPPED ] Nccl.SendsToItself (0 ms)\n[  PASSED  ] 0 tests.\n"
           "[  SKIPPED ] 1 test, listed below:\n")
FAILED = ("[  FAILED  ] Cuda.Adds/3, where GetParam() = 2 (1 ms)\n[  PASSED  ] 3 tests.\n"
          "[  FAILED  ] 1 test, listed below:\n[  FAILED  ] Cuda.Adds/3, where GetParam() = 2\n")


def write_program(path, text, code=0):
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {code}\n")
    path.chmod(0o755)


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.folder.name)
        self.bundle, self.out = root / "bundle", root / "out"
        (self.bundle / "samples").mkdir(parents=True)
        facts = {"commit": "0123abc", "changed_files": 0, "architectures": "90a-real", "nvcc": "none",
                 "built": "2026-01-01 00:00 UTC"}
        (self.bundle / "build.json").write_text(json.dumps(facts))
        row = {"batch": 0, "seqlens": [300, 17, 1, 190]}
        (self.bundle / "samples" / "codeparrot_32k.jsonl").write_text(json.dumps(row) + "\n")
        (self.bundle / "strata").symlink_to(STRATA)
        for program in ("cuda_device_test", "cuda_executor_test"):
            write_program(self.bundle / program, PASSED)
        write_program(self.bundle / "nccl_test", SKIPPED)

    def tearDown(self):
        self.folder.cleanup()

    def check(self, *options):
        done = subprocess.run([sys.executable, SCRIPT, *options, self.bundle, self.out], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        path = self.out / "table.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = {}
        for line in lines:
            cells = [cell for cell in line.split("  ") if cell.strip()]
            if len(cells) > 1:
                rows[cells[0].strip()] = [cell.strip() for cell in cells[1:]]
        return done.returncode, done.stdout, rows

    def test_runs_everything_in_a_rehearsal(self):
        code, text, rows = self.check("--rehearse")
        self.assertEqual(code, 0, text)
        self.assertIn("a rehearsal on the CPU, no result of a GPU", text)
        self.assertEqual(rows["opening the GPU"][0], "passed")
        self.assertEqual(rows["kernels against float64"][:2], ["passed", "4 tests"])
        self.assertEqual(rows["NCCL to itself"][0], "not run: no NCCL here")
        runs = [row for name, row in rows.items() if name.startswith("run ") and "NCCL" not in name]
        self.assertEqual(len(runs), 18)
        for row in runs:
            self.assertEqual(row[0], "passed")
            self.assertRegex(row[1], r"^o \S+, dq \S+, dk \S+, dv \S+$")
        for name in ("32K tokens as recorded", "2 documents of 16K", "1 document of 32K"):
            self.assertEqual(rows["attention, " + name][0], "measured")
            self.assertRegex(rows["attention, " + name][1], r"^forward [1-9\d]\S*, backward \S+ TFLOP/s$")
        self.assertRegex(rows["8 ranks at once, 32K tokens as recorded"][1], r"^no rank computes in \d")

    @unittest.skipIf(HAS_CUDA, "this build has CUDA")
    def test_a_bundle_that_was_built_without_cuda_fails(self):
        code, text, rows = self.check()
        self.assertEqual(code, 1, text)
        self.assertRegex(rows["opening the GPU"][0], "^FAILED: .*this build has no CUDA$")
        self.assertEqual(rows["measurements"][0], "not run: no usable GPU")

    @unittest.skipUnless(HAS_CUDA, "this build has no CUDA")
    def test_without_a_gpu_says_so_and_exits_4(self):
        code, text, rows = self.check()
        if code == 0:
            self.skipTest("this machine has a GPU")
        self.assertEqual(code, 4, text)
        self.assertTrue(rows["opening the GPU"][0].startswith("not run: "), rows["opening the GPU"])
        self.assertEqual(rows["measurements"][0], "not run: no usable GPU")

    def test_names_the_tests_that_failed(self):
        write_program(self.bundle / "cuda_device_test", FAILED, 1)
        write_program(self.bundle / "cuda_executor_test", "[  PASSED  ] 0 tests.\n")
        os.remove(self.bundle / "strata")
        write_program(self.bundle / "strata", "strata: no such plan\n", 2)
        code, text, rows = self.check("--rehearse")
        self.assertEqual(code, 1, text)
        self.assertEqual(rows["kernels against float64"][0], "FAILED: Cuda.Adds/3")
        self.assertEqual(rows["strategies against float64"][0], "FAILED: no test ran")
        self.assertEqual(rows["plan probe"][0], "FAILED: strata: no such plan")

    def test_refuses_folders_that_are_not_what_it_expects(self):
        self.out.mkdir()
        (self.out / "old.log").write_text("kept\n")
        code, text, _ = self.check("--rehearse")
        self.assertEqual(code, 2)
        self.assertIn("found files, expected an empty or a new folder", text)
        self.assertEqual((self.out / "old.log").read_text(), "kept\n")
        (self.bundle / "build.json").unlink()
        code, text, _ = self.check("--rehearse")
        self.assertEqual(code, 2)
        self.assertIn("found no build.json", text)


if __name__ == "__main__":
    unittest.main()
