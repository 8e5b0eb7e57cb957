"""Tell what a preset's network is: parts, parameters, outputs, sides, what a voxel sees; or which networks there are.

By hand: `python scripts/describe_model.py --list`, or `--preset train/banis`, with `--json` as JSON. Of a preset as
`synth/paper_8x` the parameters of each part of the generator, for `--classes` classes.
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    list: bool = False,
    preset: str = "",
    json: bool = False,
    in_channels: int = 1,
    classes: int = 7,
    project: Path = Path(__file__).parents[1],
) -> None:
    """Describe the network of `preset`, a file under config/ of `project`, or list all architectures."""
    from connectomake.errors import ConfigError
    from connectomake.models.describe import describe

    if list == bool(preset):
        raise ConfigError("describe_model takes --list or --preset train/NAME or synth/NAME", hint="give one of them")
    if preset.startswith("synth/"):
        from connectomake.synth.describe import describe_synth

        describe_synth(preset, project, classes=classes, as_json=json)
        return
    describe(preset, project, in_channels=in_channels, as_json=json)


if __name__ == "__main__":
    run(main)
