# SPDX-License-Identifier: Apache-2.0
"""Correctness on the GPU: the test programs, every strategy against float64, NCCL, compute-sanitizer."""
import os
import pathlib
import re
import shutil
import sys

from report import last_line, plan, recorded_batch, run_command, run_plan, write_batch

STRATEGIES = ["ulysses", "ring", "zigzag_ring", "per_document", "allgather", "whole_document"]


def open_device(report):
    """Whether the device runs the smallest plan there is."""
    name = "opening the GPU"
    batch = recorded_batch(report)
    if not plan(report, "probe", batch, "--topology cpu:1x1:1 --model tiny --layers 1 --heads 8:2"):
        return False
    done = report.run(name, run_command(report, "probe", "--check sampled"), 60)
    if done.code is None:
        return False
    reason = last_line(done.text).replace("strata: ", "")
    verdict = {0: "passed", 4: "not run: " + reason}.get(done.code, "FAILED: " + reason)
    report.add(name, verdict, "", done.seconds)
    return done.code == 0


def judge_tests(report, name, program, limit, environment=None):
    done = report.run(name, [report.bundle / program, "--gtest_color=no"], limit, environment)
    if done.code is None:
        return
    passed = re.search(r"\[  PASSED  \] (\d+) test", done.text)
    skipped = re.search(r"\[  SKIPPED \] (\d+) test", done.text)
    if done.code != 0:
        failures = re.findall(r"^\[  FAILED  \] ([\w./]+)(?: \(|,|$)", done.text, re.M)
        names = ", ".join(sorted(set(failures))) or f"exit code {done.code}"
        report.add(name, "FAILED: " + names, "", done.seconds)
    elif skipped:
        reason = re.search(r"Skipped\n(.*)", done.text)
        report.add(name, "not run: " + (reason[1].replace("not run: ", "") if reason else "skipped"),
                   f"{skipped[1]} skipped, {passed[1] if passed else 0} passed", done.seconds)
    elif passed and int(passed[1]) > 0:
        report.add(name, "passed", f"{passed[1]} tests", done.seconds)
    else:
        report.add(name, "FAILED: no test ran", "", done.seconds)


def run_test_programs(report):
    judge_tests(report, "kernels against float64", "cuda_device_test", 150)
    judge_tests(report, "strategies against float64", "cuda_executor_test", 150)
    judge_tests(report, "NCCL to itself", "nccl_test", 60, nccl_environment())


def run_strategies(report):
    target = report.target
    small = "--model tiny --heads 8:2 --layers 1"
    kinds = [("bf16, tensor cores", f"{target.large_model} --layers 2 --element-type bf16", "--poison"),
             ("bf16, plain", small + " --element-type bf16", "--kernels plain"),
             ("f32, plain", small + " --element-type f32", "--poison")]
    for strategy in STRATEGIES:
        for number, (kind, model, options) in enumerate(kinds):
            name, plan_name = f"run {strategy}, {kind}", f"{strategy}_{number}"
            if not plan(report, plan_name, recorded_batch(report),
                        f"--topology cpu:1x8:8 --strategy {strategy} {model}"):
                continue
            done = run_plan(report, name, plan_name, "--check sampled " + options)
            if done is None:
                continue
            errors = re.findall(r"^(o|dq|dk|dv) +(\S+) \(at most", done.text, re.M)
            kernel = "tensor-core attention" if "cores" in kind else "plain fp32 attention"
            expected = ["check passed"] if target.rehearsal else [kernel, "check passed"]
            missing = [words for words in expected if words not in done.text]
            report.add(name, f"FAILED: the run does not say '{missing[0]}'" if missing else "passed",
                       ", ".join(f"{tensor} {error}" for tensor, error in errors), done.seconds)


def nccl_environment():
    """Where PyTorch, or another Python package, has brought NCCL; empty where the loader has to find it."""
    for folder in sys.path:
        for library in sorted(pathlib.Path(folder).glob("nvidia/nccl/lib/libnccl.so.2")):
            return {"STRATA_NCCL": str(library)}
    return {}


def run_over_nccl(report):
    """One rank over NCCL: the only number that a single GPU allows."""
    name = "run of one rank over NCCL"
    options = f"--topology cpu:1x1:1 --strategy ring {report.target.large_model} --layers 2"
    if not plan(report, "lone", recorded_batch(report), options):
        return
    done = run_plan(report, name, "lone", "--check sampled --timeline lone.timeline.json",
                    report.target.per_process, nccl_environment())
    if done is not None:
        report.add(name, "passed" if "check passed" in done.text else "FAILED: no 'check passed'",
                   ", ".join(re.findall(r"NCCL [\d.]+", done.text)[-1:]), done.seconds)


def find_sanitizer():
    for place in (shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"):
        if place and os.access(place, os.X_OK):
            return place
    return None


def judge_sanitizer(report, name, command):
    done = report.run(name, command, 90)
    if done.code is None:
        return
    clean = re.search(r"(ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards)", done.text)
    if done.code == 0 and clean:
        report.add(name, "passed", clean[1], done.seconds)
    elif "Device not supported" in done.text and "Invalid" not in done.text and "hazard" not in done.text:
        report.add(name, "not run: compute-sanitizer says 'Device not supported'", "", done.seconds)
    else:
        report.add(name, "FAILED: " + last_line(done.text), "", done.seconds)


def run_sanitizer(report):
    tool = find_sanitizer()
    small = "--topology cpu:1x4:4 --strategy zigzag_ring --model tiny --layers 1"
    batch = write_batch(report, "small", [150, 1, 67, 38])
    for kind, heads in (("bf16", "--head-dim 64 --element-type bf16"), ("f32", "--element-type f32")):
        planned = tool is not None and plan(report, f"small_{kind}", batch, f"{small} {heads}")
        for mode in ("memcheck", "racecheck"):
            name = f"{mode}, zigzag_ring, {kind}"
            if not planned:
                reason = "no compute-sanitizer on this machine" if tool is None else "the plan failed"
                report.add(name, "not run: " + reason)
                continue
            judge_sanitizer(report, name, [tool, "--tool", mode, "--error-exitcode", "9",
                                           *run_command(report, f"small_{kind}", "")])
