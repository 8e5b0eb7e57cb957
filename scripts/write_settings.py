"""Write the settings of an experiment's variants, every default and override resolved.

out  settings   YAML: variant -> stage -> key -> value
"""

from pathlib import Path

import yaml

from connectomake.stage import run


def main(*, settings: Path, variants: dict) -> None:
    """Write one file for the experiment."""
    settings.write_text(yaml.safe_dump(variants, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    run(main)
