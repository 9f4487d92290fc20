"""The results of `training.py` as a page of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
FILES = ("training.json", "training-cuda.json")
NAMES = {"ours": "ours", "open_clip": "open_clip's"}
ARCHITECTURES = ("commercemm", "eclip", "scale", "interbert")


def page(reports: list[dict[str, Any]]) -> str:
    """Markdown of the reports, one place after the other."""
    head = ["# The speed of training", "", "Made by `benchmarks/training_page.py` from the results of `benchmarks/training.py`."]
    return "\n".join([*head, *(line for report in reports for line in _report(report))]) + "\n"


def known() -> list[dict[str, Any]]:
    """The reports that are there."""
    return [json.loads((RESULTS / name).read_text()) for name in FILES if (RESULTS / name).is_file()]


def _report(report: dict[str, Any]) -> Iterator[str]:
    if "loops" in report:
        yield from _loops(report["loops"])
    if "objectives" in report:
        yield from _objectives(report["objectives"])


def _loops(part: dict[str, Any]) -> Iterator[str]:
    losses, speed, versions = part["losses"], part["speed_up"], part["versions"]
    yield from ("", f"## Our loop and open_clip's, on {_place(part)}", "")
    yield f"Image-text contrast of open_clip's {part['model']} with the same weights and batches of {part['batch']:,} in memory,"
    yield f"{part['precision']}, PyTorch {versions['torch']}, open_clip {versions['open-clip-torch']}. Medians of {part['repeats']}"
    yield f"processes each in alternating order, {part['steps']} steps after {part['warm']}; in parentheses the least and the most."
    yield f"They train alike: over all steps the losses are at most {100 * losses['apart']:.2g} % apart. {_made(part)}"
    yield from ("", "| loop | samples/s | peak memory, GiB | before the training, GiB | share of the peak, % |", "|---|---|---|---|---|")
    for name, told in NAMES.items():
        row = part["loops"][name]
        memory = (_range(row[figure], 2**30, 2) for figure in ("peak_bytes", "bytes_before"))
        yield f"| {told} | {_range(row['samples_a_second'], 1, 1)} | {' | '.join(memory)} | {_share(row['mfu'])} |"
    turns = f"{speed['min']:.3f} to {speed['max']:.3f} turn by turn"
    yield from ("", f"Ours does {speed['median']:.3f} times open_clip's samples a second ({turns}).")


def _objectives(part: dict[str, Any]) -> Iterator[str]:
    first, torch = next(iter(part["architectures"].values())), part["versions"]["torch"]
    yield from ("", f"## The cost of each objective, on {_place(part)}", "")
    yield f"Steps of pretraining at `{first['size']}` with {first['batch']} products, {part['precision']}, PyTorch {torch}; the towers are"
    yield f"in the step and learn. Means of {first['steps']} steps. What an architecture computes in any case is in each of its rows:"
    yield "image-text contrast in CommerceMM and ECLIP, ECLIP's decoder in all but `itc`, the joint encoders of SCALE and InterBERT."
    yield _made(part)
    yield from (
        "",
        "| architecture | objectives | samples/s | peak memory, GiB | GFLOP a sample | share of the peak, % |",
        "|---|---|---|---|---|---|",
    )
    for name in (name for name in ARCHITECTURES if name in part["architectures"]):
        found = part["architectures"][name]
        for row in found["rows"]:
            families = row["families"]
            what = families[0] if len(families) == 1 else f"all {len(families)}"
            if "failed" in row:
                yield f"| {name} | {what} | out of memory | - | - | - |"
                continue
            figures = (row["samples_a_second"], row["peak_bytes"] / 2**30, row["flops_a_step"] / found["batch"] / 1e9)
            cells = " | ".join(f"{value:.{digits}f}" for value, digits in zip(figures, (1, 2, 1), strict=True))
            yield f"| {name} | {what} | {cells} | {_share(row['mfu'])} |"


def _share(mfu: float | None) -> str:
    return "-" if mfu is None else f"{100 * mfu:.1f}"


def _made(part: dict[str, Any]) -> str:
    return f"Commit {part['commit']}, {part['date']}."


def _range(figure: dict[str, float], unit: float, digits: int) -> str:
    middle, low, high = (f"{figure[name] / unit:,.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({low} to {high})"


def _place(part: dict[str, Any]) -> str:
    machine = part["machine"]
    return machine.get("gpu") or f"{part['threads']} threads of {machine['processor']}"


if __name__ == "__main__":
    path = RESULTS.parents[1] / "docs" / "models" / "training.md"
    path.write_text(page(known()))
