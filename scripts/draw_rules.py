"""Draw the graph of rules into a page: `python scripts/draw_rules.py --page README.md` after rules have changed.

to   page  a file with the marks that the graph stands between; a new one is made
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from connectomake.draw.rules import BEGIN, END, draw_rules, read_edges, replace_graph
from connectomake.errors import ConnectomakeError
from connectomake.stage import run


def main(*, page: Path, snakefile: Path = Path("Snakefile"), config: dict | None = None) -> None:
    """Ask Snakemake for the graph of what `config` runs, the demo by default, and put it into the page."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "config.json")
        settings.write_text(json.dumps(config or {"results": folder}), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", str(settings)]
        told = subprocess.run([*command, "--rulegraph", "mermaid-js"], capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise ConnectomakeError("Snakemake could not tell the graph of rules", got=told.stderr[-2000:])
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(replace_graph(text, draw_rules(read_edges(told.stdout))), encoding="utf-8")


if __name__ == "__main__":
    run(main)
