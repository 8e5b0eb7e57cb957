"""Let Snakemake write its HTML report over results that are there.

out  page    one HTML file: figures, tables, runtimes, code
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from connectomake.errors import ConnectomakeError
from connectomake.stage import run


def main(*, page: Path, config: dict, snakefile: Path) -> None:
    """Ask Snakemake itself, with the same config, for a page of all that the rule `figures` gathers."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "config.json")
        settings.write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "figures", "--snakefile", str(snakefile)]
        # The run that this job belongs to holds the lock of the working directory.
        command += ["--report", str(page), "--configfile", str(settings), "--nolock"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode != 0 or not page.is_file():
        raise ConnectomakeError(f"Snakemake could not write {page}", got=told.stderr[-2000:] or told.stdout[-2000:])


if __name__ == "__main__":
    run(main)
