"""Fail unless all demos whose tables are named agree: the same NERL, voxel VOI within 0.03, NERL >= 0.95, VOI <= 0.35.

python compare_demos.py RESULTS ...
"""

import csv
import sys
from pathlib import Path


def main() -> None:
    """Compare `report/phantom/metrics.tsv` of each results folder, on the held-out test volume."""
    found = {}
    for folder in sys.argv[1:]:
        with (Path(folder) / "report/phantom/metrics.tsv").open(encoding="utf-8") as file:
            row = next(row for row in csv.DictReader(file, delimiter="\t") if row["volume"] == "test")
        found[folder] = float(row["nerl"]), float(row["voxel_voi_sum"])
        sys.stdout.write(f"{folder}: NERL {found[folder][0]:.3f}, voxel VOI {found[folder][1]:.3f}\n")
    nerls, vois = zip(*found.values(), strict=True)
    if max(nerls) - min(nerls) > 1e-9 or max(vois) - min(vois) > 0.03 or min(nerls) < 0.95 or max(vois) > 0.35:
        sys.exit("the demos do not agree, or one is not good enough")


if __name__ == "__main__":
    main()
