"""Check that every block of a prediction is there, make its coarse levels, and declare its store complete.

in   markers  what each job of predict_affinities wrote when it was done
out  done     zarr.json of the store, written last
"""

from pathlib import Path

from connectomake.stage import run


def main(*, markers: list[Path], done: Path, threads: int = 1) -> None:
    """Check the ledger, and make the coarse levels and the store's attributes."""
    from connectomake.predict.finish import finish_prediction

    finish_prediction(markers, done.parent, threads=threads)


if __name__ == "__main__":
    run(main)
