"""Put every class of every crop of a manifest into one zip, as the challenge takes it.

in   crops     crop.json of each crop that was decoded
     manifest  the challenge's list of crops and classes
out  packed    the zip; a class that was not decoded is an array of zeros in it
"""

from pathlib import Path

from connectomake.stage import run


def main(*, crops: list[Path], manifest: Path, packed: Path, largest_gb: float = 50.0, code: str = "") -> None:
    """Write the zip."""
    from connectomake.submit.pack import pack_submission

    pack_submission(crops, manifest, packed, largest_gb=largest_gb)


if __name__ == "__main__":
    run(main)
