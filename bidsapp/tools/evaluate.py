"""``brainseg evaluate``: score segmentations or registrations against reference labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...training.evaluation import comparison, plot, registration, segmentation


def run(args: argparse.Namespace) -> int:
    """Score one file or a folder against reference labels and print the means; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg evaluate``.

    Raises
    ------
    UsageError
        If an option is for one segmentation, and there are several.
    """
    several = len(args.pred) > 1
    if args.registration:
        if several:
            raise UsageError(args.pred[1], "--registration scores one PRED", "Give one")
        pairs = registration.evaluate_pairs(args.ref, args.pred[0], args.registration, args.out)
        print(registration.summary_text(pairs))
        return 0
    given = args.mapping_pred or []
    options: dict[str, Any] = {
        "table": args.table,
        "resampled": args.resample,
        "surfaces": not args.no_surfaces,
    }
    if several:
        frame = comparison.compare_paths(
            args.ref,
            args.pred,
            names=args.names or (),
            mapping=args.mapping,
            mappings_pred=given,
            **options,
        )
    else:
        (own,) = comparison.mappings_of([Path(args.pred[0])], given)
        frame = segmentation.evaluate_paths(args.ref, args.pred[0], args.mapping, mapping_pred=own, **options)
    if args.out:
        segmentation.write(frame, Path(args.out))
    if args.plot:
        plot.write_plot(frame, Path(args.plot))
    for note in frame.attrs["notes"]:
        print(f"note: {note}")
    mean = comparison.summary(frame) if several else segmentation.summarize(frame)
    print(mean.to_string(float_format=lambda value: f"{value:.3f}", na_rep="n/a"))
    if not several:
        print(f"mean Dice {mean['dice'].mean():.4f} over {len(mean)} structures")
    return 0
