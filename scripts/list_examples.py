"""List the pieces of volumes that a generator learns from and is measured by; refuse what it cannot learn from.

in   split       split.tsv: train boxes are learnt from, validate and test boxes held out
out  examples    examples.tsv: one row per example, with class and role
Of a collection of files by class there is no split: `collection`, whose relative path starts from `folder`.
"""

from pathlib import Path

from connectomake.config.settings.data import CollectionConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.stage import run


def main(
    *,
    examples: Path,
    cfg: SynthConfig,
    split: Path | None = None,
    collection: CollectionConfig | None = None,
    folder: str = "",
) -> None:
    """Write the table of examples."""
    from connectomake.synth.listing import list_examples

    list_examples(cfg, examples, split, collection, folder)


if __name__ == "__main__":
    run(main)
