#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch reaches on this GPU: the yardsticks beside which Strata's own rates stand.

usage: torch_rates.py ceilings
       torch_rates.py attention BATCH.jsonl     the first row: 32 heads of 128, causal inside documents, bf16

The last line printed is the figure, or why there is none; exit code 1 then.
"""
import json
import sys

HEADS, HEAD_DIM = 32, 128


def median_seconds(torch, work, repeats=5):
    for _ in range(3):
        work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(repeats):
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
    return sorted(times)[repeats // 2]


def ceilings(torch):
    data = torch.randn(2**28, device="cuda")
    copy = data.clone()
    seconds = median_seconds(torch, lambda: copy.copy_(data))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = median_seconds(torch, lambda: torch.matmul(a, b))
    return (f"copy {2 * data.numel() * 4 / seconds * 1e-12:.2f} TB/s read and written, "
            f"bf16 matmul {2 * 8192**3 / product * 1e-12:.0f} TFLOP/s")


def document_lengths(path):
    with open(path, encoding="utf-8") as stream:
        row = json.loads(stream.readline())
    return row["seqlens"] if "seqlens" in row else row["packs"][0]


def allowed_flops(lengths):
    """Of the forward: two products over the pairs that the mask allows."""
    return sum(4 * HEAD_DIM * HEADS * length * (length + 1) / 2 for length in lengths)


def one_call_per_document(torch, lengths):
    attention = torch.nn.functional.scaled_dot_product_attention
    inputs = [torch.randn(1, HEADS, length, HEAD_DIM, device="cuda", dtype=torch.bfloat16,
                          requires_grad=True) for length in lengths for _ in range(3)]
    triples = [inputs[i:i + 3] for i in range(0, len(inputs), 3)]
    return inputs, lambda: [attention(*triple, is_causal=True) for triple in triples]


def one_call_for_all(torch, lengths):
    """Documents of different lengths in one launch: PyTorch's jagged tensors."""
    attention = torch.nn.functional.scaled_dot_product_attention
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    offsets = torch.tensor(bounds, device="cuda")
    inputs = [torch.randn(bounds[-1], HEADS, HEAD_DIM, device="cuda", dtype=torch.bfloat16,
                          requires_grad=True) for _ in range(3)]

    def call():
        jagged = [torch.nested.nested_tensor_from_jagged(values, offsets, min_seqlen=min(lengths),
                                                         max_seqlen=max(lengths)).transpose(1, 2)
                  for values in inputs]
        return [attention(*jagged, is_causal=True).transpose(1, 2).values()]

    return inputs, call


def rates_of(torch, backend, lengths, prepare):
    """Forward and backward in TFLOP/s, the backward counted as five products."""
    from torch.nn.attention import sdpa_kernel
    inputs, call = prepare(torch, lengths)
    with sdpa_kernel(backend):
        forward = median_seconds(torch, call)
        outputs = call()
        grads = [torch.randn_like(output) for output in outputs]
        backward = median_seconds(
            torch, lambda: torch.autograd.grad(outputs, inputs, grads, retain_graph=True))
    flops = allowed_flops(lengths)
    return f"{flops / forward * 1e-12:.0f} / {2.5 * flops / backward * 1e-12:.0f}"


def attention_rates(torch, path):
    from torch.nn.attention import SDPBackend
    lengths = document_lengths(path)
    figures = []
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
        for way, prepare in (("a call per document", one_call_per_document), ("jagged", one_call_for_all)):
            if len(lengths) == 1 and prepare is one_call_for_all:
                continue
            try:
                figures.append(f"{name}, {way}: {rates_of(torch, backend, lengths, prepare)}")
            except Exception as error:  # a yardstick that PyTorch does not have here, whatever it raises
                figures.append(f"{name}, {way}: not run: {(str(error).splitlines() or ['no reason'])[0]}")
            torch.cuda.empty_cache()
    return "; ".join(figures) + " TFLOP/s forward / backward"


def main():
    if sys.argv[1:] != ["ceilings"] and (len(sys.argv) != 3 or sys.argv[1] != "attention"):
        print(__doc__.strip())
        return 2
    try:
        import torch
    except ImportError:
        print("no PyTorch on this machine")
        return 1
    if not torch.cuda.is_available():
        print("PyTorch finds no GPU")
        return 1
    print(ceilings(torch) if sys.argv[1] == "ceilings" else attention_rates(torch, sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
