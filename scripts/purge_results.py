"""Show what each stage's results take on the disk; remove those of the stages that are named.

Removes everything below results/STAGE: what depends on it is made anew by the next run that needs it.
"""

from pathlib import Path

from connectomake.purge import purge
from connectomake.stage import run


def main(*, results: Path, stages: str = "") -> None:
    """Show sizes, and remove the results of `stages` (comma-separated)."""
    purge(results, [stage.strip() for stage in stages.split(",") if stage.strip()])


if __name__ == "__main__":
    run(main)
