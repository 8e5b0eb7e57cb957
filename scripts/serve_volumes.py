"""Serve results to neuroglancer, until Ctrl-C: `python scripts/serve_volumes.py`, then open the links that it shows.

Stores, volumes of any format and skeletons are read where they lie. Only this machine can read them, unless `--host`
says otherwise. Where the Python package neuroglancer is installed, its client is served too, and works offline.
"""

from pathlib import Path

from connectomake.stage import run


def main(*, results: Path = Path("results"), port: int = 9000, host: str = "127.0.0.1", client: str = "") -> None:
    """Serve `results` at `host`:`port`; links open in `client`, an address of neuroglancer."""
    from connectomake.view.server import serve

    serve(results, host=host, port=port, client=client)


if __name__ == "__main__":
    run(main)
