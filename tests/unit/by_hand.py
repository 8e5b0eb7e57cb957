"""Run a stage script as from a shell, but in the process of the test: another one would load torch for seconds."""

import runpy
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run_by_hand(monkeypatch, name, flags):
    """Run the script of that name with these flags; gives its exit status."""
    script = SCRIPTS / f"{name}.py"
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", [str(script), *map(str, flags)])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    return 0
