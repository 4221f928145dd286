# SPDX-License-Identifier: Apache-2.0
"""Rates on the GPU, read off the traces of runs, beside those of PyTorch on the same documents."""
import json
import pathlib
import re
import shutil
import sys

from report import last_line, plan, recorded_batch, run_command, run_plan, write_batch

CALIBRATION_LIMIT_S = 60


def batches(report):
    """What is measured -> its batch: recorded rows, and the long documents that the targets speak of."""
    long = report.target.long_document
    return {"32K tokens as recorded": recorded_batch(report),
            "2 documents of 16K": write_batch(report, "two_long", [long // 2, long // 2]),
            "1 document of 32K": write_batch(report, "one_long", [long])}


def last_repeat(trace, kinds=None):
    """Spans on the compute streams in the last repeat, when all is warm."""
    events = json.loads(trace.read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["tid"] == 0]
    last = max(span["args"]["repeat"] for span in spans)
    return [span for span in spans
            if span["args"]["repeat"] == last and (kinds is None or span["args"]["kind"] in kinds)]


def tera_flops(spans):
    """TFLOP/s of the spans together; 0 where there are none."""
    seconds = sum(span["dur"] for span in spans) * 1e-6
    return sum(span["args"]["flops"] for span in spans) / seconds * 1e-12 if seconds else 0.0


def busy_share(spans):
    """Part of the time from the first begin to the last end in which some rank computes."""
    order = sorted((span["ts"], span["ts"] + span["dur"]) for span in spans)
    busy, end = 0.0, order[0][0]
    for begin, stop in order:
        busy += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return busy / (end - order[0][0])


def shape(report):
    return f"{report.target.large_model} --layers {report.target.rate_layers} --element-type bf16"


def measure_attention(report):
    """Allowed pairs alone count, 32 query and 8 KV heads of 128, bf16, one rank, one kernel at a time."""
    for number, (kind, batch) in enumerate(batches(report).items()):
        name, plan_name = f"attention, {kind}", f"rate_{number}"
        options = f"--topology cpu:1x1:1 --strategy whole_document {shape(report)}"
        if not plan(report, plan_name, batch, options):
            continue
        trace = report.out / f"{plan_name}_trace.json"
        done = run_plan(report, name, plan_name, f"--serial --repeat 3 --trace {trace.name}")
        if done is None:
            continue
        forward = tera_flops(last_repeat(trace, ["Attention"]))
        # The programs count the 7 products of the split backward; the usual figure counts 5.
        backward = tera_flops(last_repeat(trace, ["AttentionBackward"])) * 5 / 7
        report.add(name, "measured" if forward and backward else "FAILED: no attention in the trace",
                   f"forward {forward:.3g}, backward {backward:.3g} TFLOP/s", done.seconds)


def profile_attention(report):
    """What bounds the kernels, in the words of Nsight Compute; the whole of it is in the log."""
    name = "Nsight Compute, 2 documents of 16K"
    tool = shutil.which("ncu")
    if tool is None or report.target.rehearsal:
        report.add(name, "not run: " + ("no ncu on this machine" if tool is None else "a rehearsal"))
        return
    # The clocks of a lent card stay as they are.
    sections = [word for section in ("SpeedOfLight", "WarpStateStats", "Occupancy", "MemoryWorkloadAnalysis")
                for word in ("--section", section)]
    command = [tool, "--clock-control", "none", "--kernel-name", "regex:strata_attention",
               "--launch-count", "3", *sections, *run_command(report, "rate_1", "--serial --layers 1")]
    done = report.run(name, command, 60)
    if done.code is None:
        return
    kernels = re.findall(r"strata_attention_(forward|grad_q|grad_kv)\w* \(", done.text)
    busy = re.findall(r"Compute \(SM\) Throughput +% +([\d.]+)", done.text)
    if done.code != 0 or not busy:
        report.add(name, "not run: " + last_line(done.text), "", done.seconds)
        return
    figures = [f"{kernel} {share} %" for kernel, share in zip(kernels, busy)]
    report.add(name, "measured", "SM throughput " + ", ".join(figures), done.seconds)


def measure_overlap(report):
    name = "8 ranks at once, 32K tokens as recorded"
    options = f"--topology cpu:1x8:8 --strategy zigzag_ring {shape(report)}"
    if not plan(report, "eight", recorded_batch(report), options):
        return
    done = run_plan(report, name, "eight", "--repeat 3 --trace eight_trace.json")
    if done is not None:
        gaps = 100 * (1 - busy_share(last_repeat(report.out / "eight_trace.json")))
        report.add(name, "measured", f"no rank computes in {gaps:.1f} % of the step (goal: at most 5 %)",
                   done.seconds)


def measure_yardsticks(report):
    script = pathlib.Path(__file__).resolve().parent / "torch_rates.py"
    wanted = [("copy and matmul through PyTorch", ["ceilings"])]
    wanted += [(f"PyTorch attention, {kind}", ["attention", batch])
               for kind, batch in batches(report).items()]
    for name, arguments in wanted:
        done = report.run(name, [sys.executable, script, *arguments], 60)
        if done.code is not None:
            figure = last_line(done.text)
            report.add(name, "measured" if done.code == 0 else "not run: " + figure,
                       figure if done.code == 0 else "", done.seconds)


def calibrate(report):
    """Raw samples of attention, rows and copies between ranks; at most a minute of the budget."""
    name = "calibration samples"
    if report.target.rehearsal:
        report.add(name, "not run: a rehearsal, and samples are of GPUs and processes")
        return
    command = [report.bundle / "strata", "calibrate", "-o", "samples.json", "--executor", "cuda"]
    done = report.run(name, command, CALIBRATION_LIMIT_S)
    if done.code is None:
        return
    if done.code != 0:
        report.add(name, "FAILED: " + last_line(done.text), "", done.seconds)
        return
    samples = json.loads((report.out / "samples.json").read_text())
    counts = ", ".join(f"{len(samples[group])} of {group}" for group in ("attention", "rows", "exchanges"))
    report.add(name, "measured", f"{counts}, in samples.json", done.seconds)
    largest = {}
    for row in samples["rows"]:
        if row["moved_bytes"] >= largest.get(row["operation"], row)["moved_bytes"]:
            largest[row["operation"]] = row
    figures = [f"{operation} {row['bytes_per_second'] * 1e-12:.2f}" for operation, row in largest.items()]
    report.add("row kernels, largest size", "measured",
               ", ".join(figures) + " TB/s read and written; to hold against PyTorch's copy above")
    report.add("prediction error of attention", "not run: no profile is fitted to the samples yet")
