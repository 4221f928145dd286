# SPDX-License-Identifier: Apache-2.0
"""Commands with their logs and time limits, the rows of the table, and the steps that all checks share."""
import os
import re
import subprocess
import sys
import time
from typing import NamedTuple, Optional

BUDGET_S = 460
RECORDED = "codeparrot_32k.jsonl"


class Target:
    """What runs where: on the GPU, or in a rehearsal on the CPU, which takes small models only."""

    def __init__(self, rehearsal):
        self.rehearsal = rehearsal
        self.one_gpu, self.per_process = ("cpu", "cpu") if rehearsal else ("cuda", "nccl")
        self.large_model = "--model tiny --heads 8:2" if rehearsal else "--model llama3_8b"
        self.rate_layers = 1 if rehearsal else 4
        self.long_document = 1024 if rehearsal else 32768

    def run_options(self, options):
        """Those of `strata run` that the executor knows; in a rehearsal the CPU has no such choice."""
        return re.sub(r"--serial|--kernels \w+", "", options) if self.rehearsal else options


class Outcome(NamedTuple):
    code: Optional[int]  # None: not run or stopped, and a row says so
    text: str
    seconds: float


class Report:
    """Runs commands with logs and collects the rows of the table."""

    def __init__(self, bundle, out, target):
        self.bundle, self.out, self.target = bundle, out, target
        self.begin = time.monotonic()
        self.rows = []
        self.failed = False

    def elapsed(self):
        return time.monotonic() - self.begin

    def add(self, name, verdict, figure="", seconds=None):
        self.rows.append((name, verdict, figure, "" if seconds is None else f"{seconds:.1f}"))
        self.failed = self.failed or verdict.startswith("FAILED")
        print(f"{name}: {verdict} {figure}", flush=True)

    def run(self, name, command, limit=120, environment=None):
        limit = min(limit, BUDGET_S - self.elapsed())
        if limit < 5:
            self.add(name, "not run: out of time")
            return Outcome(None, "", 0.0)
        log = self.out / f"{len(list(self.out.iterdir())):02d}-{re.sub('[^A-Za-z0-9]+', '-', name)}.log"
        command = [str(word) for word in command]
        begin = time.monotonic()
        with log.open("w") as stream:
            stream.write("+ " + " ".join(command) + "\n")
            stream.flush()
            try:
                code = subprocess.run(command, check=False, stdout=stream, stderr=subprocess.STDOUT,
                                      cwd=self.out, env={**os.environ, **(environment or {})},
                                      timeout=limit).returncode
            except subprocess.TimeoutExpired:
                code = None
            except OSError as error:
                stream.write(f"{error}\n")
                code = 127
        seconds = time.monotonic() - begin
        if code is None:
            self.add(name, f"FAILED: not done after {limit:.0f} s", log.name, seconds)
        return Outcome(code, log.read_text(errors="replace"), seconds)

    def table(self):
        heads = ("check", "verdict", "figure", "s")
        widths = [max(len(row[i]) for row in [heads, *self.rows]) for i in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                 for row in [heads, *self.rows]]
        return "\n".join(lines)


def refuses(folder):
    """Whether the folder has something in it, which nothing here may replace; a line says so."""
    used = folder.exists() and any(folder.iterdir())
    if used:
        print(f"gpu_check: {folder}: found files, expected an empty or a new folder", file=sys.stderr)
    return used


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def write_batch(report, name, documents):
    """A batch of one row with documents of these lengths; its path."""
    path = report.out / f"{name}.jsonl"
    path.write_text('{"step": 0, "packs": [%s]}\n' % list(documents))
    return path


def recorded_batch(report):
    return report.bundle / "samples" / RECORDED


def plan(report, name, batch, options):
    """Writes NAME.json; whether that worked. A row only when it did not."""
    command = [report.bundle / "strata", "plan", "--batch", batch, "-o", f"{name}.json", *options.split()]
    done = report.run("plan " + name, command, 60)
    if done.code not in (0, None):
        report.add("plan " + name, "FAILED: " + last_line(done.text), "", done.seconds)
    return done.code == 0


def run_command(report, plan_name, options, executor=None):
    """`strata run` of a plan, for all ranks on one GPU unless an executor is named."""
    return [report.bundle / "strata", "run", f"{plan_name}.json", "--executor",
            executor or report.target.one_gpu, *report.target.run_options(options).split()]


def run_plan(report, name, plan_name, options, executor=None, environment=None):
    """The Outcome of run_command, or None with a row when it failed."""
    done = report.run(name, run_command(report, plan_name, options, executor), 60, environment)
    if done.code == 0:
        return done
    if done.code is not None:
        report.add(name, "FAILED: " + last_line(done.text), "", done.seconds)
    return None
