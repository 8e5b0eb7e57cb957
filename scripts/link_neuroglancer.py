"""Write neuroglancer's view of a segmentation, and a link to it and to each of its errors.

in   volume      volume.json of the ingest stage; its labels, where it has any, are the truth
     labels      (Z, Y, X) integer store (its zarr.json)
     affinities  (C, Z, Y, X) uint8 or float16 store (its zarr.json); optional
     skeletons   skeletons.npz beside the volume; optional
     errors      errors.tsv of the measure stage; optional
out  state       JSON, the whole segmentation with its errors
     links       TSV: kind, rank, link
The links open while `python scripts/serve_volumes.py` runs.
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    volume: Path,
    labels: Path,
    state: Path,
    links: Path,
    affinities: Path | None = None,
    skeletons: Path | None = None,
    errors: Path | None = None,
    results: Path = Path("results"),
    address: str = "http://127.0.0.1:9000",
    client: str = "",
) -> None:
    """Write state and links; `address` is where `results` are served, `client` one of neuroglancer's own sites."""
    from connectomake.view.links import Files, write_views

    files = Files(volume, labels, affinities, skeletons, errors)
    write_views(files, state, links, results=results, address=address, client=client)


if __name__ == "__main__":
    run(main)
