"""Measures every shipped package on held-out data and writes figures and pictures into its model card.

    python report.py [--only mr-brain-seg …] [--cases 16]

Held out means: seeds that training cannot reach, and generator ranges that begin where the training's end. The answer is
1 when a bar is missed: lesion-core Dice at least 0.85 where threshold and largest component get at most 0.5;
accuracy at least 0.95 where size and intensity alone get at most 0.7.
"""
from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

MODELS = Path(__file__).parents[1]
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass
class Section:
    """What goes into a card, and the bars that were missed."""

    lines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def bar(self, text: str, is_met: bool) -> None:
        self.lines.append(f"- {text}: **{'met' if is_met else 'MISSED'}**")
        if not is_met:
            self.missed.append(text)


def table(head: list[str], rows: list[list]) -> list[str]:
    """A Markdown table; numbers with three decimals."""
    def cell(value) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
            *("| " + " | ".join(map(cell, row)) + " |" for row in rows), ""]


def write(folder: Path, section: Section) -> None:
    card = folder / "MODEL_CARD.md"
    text = card.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{card} has no place for figures: {BEGIN} … {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    card.write_text(before + "\n".join([BEGIN, "", *section.lines, "", END]) + after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--cases", type=int, default=16, help="phantoms for each population")
    args = parser.parse_args()
    import report_ct
    import report_mr
    import report_tabular
    reports = {"mr-brain-seg": report_mr.report, "ct-brain-class": report_ct.report, "meso": report_tabular.meso,
               "mg-expression": report_tabular.expression, "mm-fusion": report_tabular.fusion}
    if unknown := set(args.only) - set(reports):
        parser.error(f"no report for {sorted(unknown)[0]}; known: {', '.join(reports)}")
    missed = []
    for name, make in reports.items():
        if args.only and name not in args.only:
            continue
        section = make(MODELS / name, args.cases)
        write(MODELS / name, section)
        print(f"== {name}", *section.lines, sep="\n", flush=True)
        missed += [f"{name}: {text}" for text in section.missed]
    for text in missed:
        print(f"bar missed: {text}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
