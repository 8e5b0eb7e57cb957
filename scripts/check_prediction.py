"""Look for drift, saturation, empty blocks and seams in a prediction, and draw what was found.

in   volume      volume.json of the ingest stage
     affinities  store of the prediction (its zarr.json)
out  numbers     JSON: means by section, saturation, empty blocks, seams, warnings
     figure      PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(*, volume: Path, affinities: Path, numbers: Path, figure: Path, title: str = "") -> None:
    """Write the numbers and the picture; what is wrong is a warning in the log, never an error."""
    from connectomake.draw.figure import save_figure
    from connectomake.draw.prediction.figure import draw_prediction
    from connectomake.draw.sources import head
    from connectomake.files import write_json
    from connectomake.predict.check.check_prediction import check_prediction
    from connectomake.predict.check.finished import open_finished
    from connectomake.volumes.affinities import Shown

    prediction = open_finished(volume, affinities.parent)
    found = check_prediction(prediction)
    shown = Shown.of_prediction(prediction.described)
    save_figure(draw_prediction(prediction.raw, prediction.volume, shown, found, head(prediction.name, title)), figure)
    write_json(numbers, found)


if __name__ == "__main__":
    run(main)
