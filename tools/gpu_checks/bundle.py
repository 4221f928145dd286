# SPDX-License-Identifier: Apache-2.0
"""gpu_check --prepare: builds with CUDA and puts program, tests, libraries, samples and scripts in a folder
that runs anywhere the C library and the driver are.
"""
import datetime
import json
import pathlib
import re
import shutil
import subprocess
import sys

from report import RECORDED, refuses

BUNDLE_LIMIT = 55 * 2**20
PROGRAMS = {"strata": "tools/strata", "cuda_device_test": "tests/kernels/cuda_device_test",
            "cuda_executor_test": "tests/executor/cuda_executor_test",
            "nccl_test": "tests/executor/nccl_test"}
# Of the C library, which is the machine's own, as the driver's libraries are.
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|librt|libpthread|ld-linux-x86-64|libcuda)\.so")


def run_or_stop(command):
    print("+", " ".join(str(word) for word in command), flush=True)
    if subprocess.run([str(word) for word in command], check=False).returncode != 0:
        sys.exit("gpu_check: this failed: " + " ".join(str(word) for word in command))


def text_of(command):
    return subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True).stdout.strip()


def build(root, options):
    folder = pathlib.Path(options.build or root / "build" / "gpu_check").resolve()
    command = ["cmake", "-S", root, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
               "-DSTRATA_WITH_CUDA=ON", "-DSTRATA_WITH_NCCL=ON", "-DSTRATA_WITH_MPI=OFF",
               "-DSTRATA_BUILD_BENCHMARKS=OFF",
               # RPATH and not RUNPATH: also for what the libraries themselves need.
               "-DCMAKE_BUILD_RPATH=$ORIGIN/lib", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags",
               "-DCMAKE_CUDA_ARCHITECTURES=" + options.architectures]
    run_or_stop(command)
    jobs = ["-j", options.jobs] if options.jobs else []
    run_or_stop(["ninja", "-C", folder, *jobs, *PROGRAMS])
    return folder


def libraries_of(program):
    """Name -> path of every shared library that is not the C library."""
    found = {}
    for line in text_of(["ldd", program]).splitlines():
        match = re.match(r"\s*(\S+) => (\S+) \(", line)
        if match and not SYSTEM_LIBRARIES.match(match[1]):
            found[match[1]] = match[2]
        elif "not found" in line:
            sys.exit(f"gpu_check: {program}: {line.strip()}")
    return found


def facts_of_build(root, options):
    status = ["git", "--no-optional-locks", "-C", root, "status", "--porcelain"]
    return {
        "commit": text_of(["git", "-C", root, "rev-parse", "HEAD"]),
        "changed_files": len(text_of(status).splitlines()),
        "architectures": options.architectures,
        "nvcc": text_of(["nvcc", "--version"]).splitlines()[-1],
        "built": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def copy_scripts(script, folder):
    shutil.copy2(script, folder / script.name)
    (folder / "gpu_checks").mkdir(exist_ok=True)
    for module in sorted((script.parent / "gpu_checks").glob("*.py")):
        shutil.copy2(module, folder / "gpu_checks")


def prepare(script, options):
    """`script` is tools/gpu_check itself. Exit code: 0, or 2 when the folder has something in it."""
    root = script.parent.parent
    folder = pathlib.Path(options.prepare)
    if refuses(folder):
        return 2
    built = build(root, options)
    for name in ("lib", "samples"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, place in PROGRAMS.items():
        shutil.copy2(built / place, folder / name)
        run_or_stop(["strip", folder / name])
        for library, path in libraries_of(built / place).items():
            shutil.copy2(path, folder / "lib" / library)
    shutil.copy2(root / "traces" / "samples" / RECORDED, folder / "samples")
    copy_scripts(script, folder)
    (folder / "build.json").write_text(json.dumps(facts_of_build(root, options), indent=2) + "\n")
    for name in PROGRAMS:
        for library, path in libraries_of(folder / name).items():
            if pathlib.Path(path).resolve().parent != (folder / "lib").resolve():
                sys.exit(f"gpu_check: {name} takes {library} from {path}, not from the bundle")
    run_or_stop([folder / "strata", "--version"])
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB; there, run: {folder.name}/gpu_check {folder.name} OUT")
    if size > BUNDLE_LIMIT:
        sys.exit(f"gpu_check: the bundle has {size} bytes, at most {BUNDLE_LIMIT} may travel")
    return 0
