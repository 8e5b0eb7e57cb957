"""A new thing is one file and one line: toys in a temporary folder work from a preset."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
READ_PRESET = """
from pathlib import Path
from connectomake.config.engine.compose import Presets
from connectomake.errors import ConnectomakeError

def settings(stage, preset="toy"):
    return Presets(Path.cwd()).get(stage, preset, "a test").settings

def error_of(stage, preset="wrong"):
    try:
        settings(stage, preset)
    except ConnectomakeError as error:
        return str(error)
"""


@pytest.fixture
def run(tmp_path):
    """A function that writes the toy's file and presets, and runs a line that adds it and code that uses it."""

    def run(toy: str, presets: dict[str, str], line: str, code: str) -> list[str]:
        (tmp_path / "toy_thing.py").write_text(dedent(toy))
        for name, text in presets.items():
            file = tmp_path / f"config/{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        program = "\n".join((line, READ_PRESET, dedent(code)))
        path = os.pathsep.join((str(SCRIPTS), str(tmp_path)))
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_what_config_loads_is_light():
    code = (
        "import connectomake.config.stages, sys; print(*{'numpy', 'numba', 'torch', 'scipy', 'monai'} & {*sys.modules})"
    )
    env = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == ""


METRIC = """
    from connectomake.measure.table_metric import TableMetric

    def count_large(table, *, iou_thresholds):
        return {"largest_object": int(table.truth.size.max()), "n_thresholds": len(iou_thresholds)}

    TOY = TableMetric(count_large, columns=("largest_object", "n_*"), settings=("iou_thresholds",))
    SECRETIVE = TableMetric(count_large, columns=("largest_object",), settings=("iou_thresholds",))
    GREEDY = TableMetric(count_large, columns=("*",), settings=("threshold",))
"""


def test_a_metric(run):
    presets = {
        "measure/toy": "voxel_metrics: [voi, toy]\niou_thresholds: [0.1, 0.2, 0.3]",
        "measure/wrong": "voxel_metrics: [voi, toi]",
        "measure/secretive": "voxel_metrics: [secretive]",
        "measure/greedy": "voxel_metrics: [greedy]",
    }
    names = {"toy": "TOY", "secretive": "SECRETIVE", "greedy": "GREEDY"}
    lines = [f"TABLE_METRICS.add({name!r}, 'toy_thing:{attribute}')" for name, attribute in names.items()]
    found, wrong, secretive, greedy, modules = run(
        METRIC,
        presets,
        "\n".join(["from connectomake.config.registries import TABLE_METRICS", *lines]),
        """
        import numpy as np
        from connectomake.measure.contingency import contingency_of_arrays
        from connectomake.measure.dense_metrics import dense_metrics

        truth = np.array([[[1, 1, 1, 2]]])
        numbers = dense_metrics(contingency_of_arrays(truth, truth), settings("measure"))
        print(numbers["largest_object"], numbers["n_thresholds"], numbers["voxel_voi_sum"])
        print(error_of("measure"))
        for preset in ("secretive", "greedy"):
            try:
                dense_metrics(contingency_of_arrays(truth, truth), settings("measure", preset))
            except ConnectomakeError as error:
                print(error)
        print(*settings("measure").modules)
        """,
    )
    assert found == "3 3 0.0"
    assert wrong.startswith("config/measure/wrong.yaml:1: measure.voxel_metrics.1: ")
    assert "'toy'" in wrong
    assert "gives a number that it does not name; expected largest_object; got n_thresholds" in secretive
    assert "reads no such setting" in greedy
    assert greedy.endswith("got threshold")
    assert modules == "measure.segmentation tables measure.variation_of_information"


FORMAT = """
    from pathlib import Path
    import numpy as np
    from connectomake.volumes.formats.array import FileArray, Format, Metadata

    def open_toy(path, key):
        values = np.fromstring(Path(path).read_text(), sep=" ").astype(np.uint8).reshape(2, 3, 4)
        return FileArray(f"{path}", "toy", values.shape, values.dtype, Metadata(), lambda part: values[part])

    def open_blocks(path, key):
        return open_toy(path / "all.toy", key)

    TOY = Format("a list of numbers", open_toy, example=".toy", suffixes=(".toy",))
    BLOCKS = Format("a folder of lists", open_blocks, recognise=lambda path, key: (path / "all.toy").exists())
"""


def test_a_format(run, tmp_path):
    (tmp_path / "blocks").mkdir()
    for file in ("a.toy", "blocks/all.toy"):
        (tmp_path / file).write_text(" ".join(map(str, range(24))))
    (tmp_path / "a.toi").touch()
    volume = "volumes: {{one: {{role: predict, voxel_size_zyx_nm: [9, 9, 9], raw: {}}}}}"
    sources = {"toy": "a.toy", "folder": "blocks", "wrong": "a.toi", "named": "a.toy::raw", "remote": "s3://b/a.toy"}
    told = run(
        FORMAT,
        {f"data/{name}": volume.format(source) for name, source in sources.items()},
        """
from connectomake.volumes.formats import FORMATS
FORMATS.add('toy', 'toy_thing:TOY')
FORMATS.add('blocks', 'toy_thing:BLOCKS')
        """,
        """
        import sys
        from connectomake.ingest.checks import check_source
        from connectomake.volumes.volume import open_volume

        for preset in ("toy", "folder"):
            source = settings("data", preset).volumes["one"]
            volume = open_volume(source.raw, voxel_size_zyx_nm=source.voxel_size_zyx_nm)
            print(check_source(source, "", "here"), volume.read().sum())
        for preset in ("wrong", "named", "remote"):
            try:
                check_source(settings("data", preset).volumes["one"], "", "here")
            except ConnectomakeError as error:
                print(error)
        print({"h5py", "tifffile", "nibabel", "zarr"} & {*sys.modules})
        """,
    )
    assert told[:2] == ["(2, 3, 4) 276"] * 2
    known = (
        "HDF5 (.h5::dataset), TIFF (.tif), a folder of TIFF or PNG slices, NIfTI (.nii, .nii.gz), "
        "Zarr or OME-Zarr (.zarr), a list of numbers (.toy), a folder of lists"
    )
    assert told[2] == f"here: the format of a.toi is not known; expected {known}"
    assert "a.toy holds one array and no others by name; got ::raw" in told[3]
    assert "a.toy cannot be read in parts; expected Zarr or OME-Zarr" in told[4]
    assert told[5] == "set()"


AUGMENTATION = """
    from pydantic import Field
    from connectomake.config.settings.augment_kinds import Augmentation, AugmentationConfig, Share

    class InvertConfig(AugmentationConfig):
        '''Negate a share of the sections.'''

        probability: Share = Field(0.5, description="for each patch")
        sections: int = Field(1, ge=1, description="so many, from the first on")

    def invert(patch, cfg, rng, grey):
        import numpy as np

        patch.raw[:, : cfg.sections] = np.negative(patch.raw[:, : cfg.sections])

    INVERT = Augmentation(InvertConfig, invert, "negated sections")
"""


def test_an_augmentation(run):
    presets = {
        "augment/toy": "invert: {probability: 1, sections: 2}\nbrightness: {probability: 0}",
        "augment/wrong": "invert: {sections: 0}",
        "augment/unknown": "invert: {section: 1}",
        "augment/misspelt": "invrt: {}",
    }
    names, heavy, changed, *errors, described = run(
        AUGMENTATION,
        presets,
        "from connectomake.config.registries import AUGMENTATIONS\nAUGMENTATIONS.add('invert', 'toy_thing:INVERT')",
        """
        import sys
        cfg = settings("augment")
        print(cfg.names, cfg.section("invert").probability, cfg.section("noise"))
        print({"numpy", "numba", "scipy"} & {*sys.modules})

        import numpy as np
        from connectomake.augment.patch import Patch
        from connectomake.augment.registry import augment
        patch = Patch(np.ones((1, 4, 2, 2), np.float32), np.ones((4, 2, 2), int), (0, 0, 0))
        augment(patch, cfg, np.random.default_rng(0))
        print(patch.raw[0, :, 0, 0].tolist())
        for preset in ("wrong", "unknown", "misspelt"):
            print(error_of("augment", preset))

        from connectomake.config.engine.schemas import key_tables
        print(*(line for line in key_tables().splitlines() if "`invert.sections`" in line))
        """,
    )
    assert names == "['brightness', 'invert'] 1.0 None"
    assert heavy == "set()"
    assert changed == "[-1.0, -1.0, 1.0, 1.0]"
    places = ("config/augment/wrong.yaml:1: augment.invert.sections: ", "config/augment/unknown.yaml:1: ")
    assert [error.startswith(place) for error, place in zip(errors, places, strict=False)] == [True, True]
    assert "did you mean 'sections'?" in errors[1]
    assert "did you mean 'invert'?" in errors[2]
    assert "so many, from the first on" in described


LOSS = """
    from connectomake.config.settings.train_loss_kinds import Loss, Option, Suits

    def count_wrong(seen, *, from_error):
        wrong = (seen.prediction - seen.values).abs() >= from_error
        return seen.average(wrong.float())

    TOY = Loss(
        count_wrong,
        suits=Suits(("sigmoid",), binary=True),
        options={"from_error": Option(0.5, 0.0, 1.0)},
        aliases=("WrongLoss",),
    )
"""


def test_a_loss(run):
    train = "targets: {{affinity: null, {}: {{}}}}\nlosses: [{{loss: {}, options: {{{}}}}}]"
    presets = {
        "train/toy": train.format("binary", "WrongLoss", "from_error: 0.9"),
        "train/wrong": train.format("binary", "toy", "from_error: 2"),
        "train/unknown": train.format("binary", "toy", "from_eror: 1"),
        "train/misspelt": train.format("binary", "WrongLos", ""),
        "train/unsuited": train.format("distance", "toy", ""),
    }
    label, heavy, *errors, computed, described = run(
        LOSS,
        presets,
        "from connectomake.config.registries import LOSSES\nLOSSES.add('toy', 'toy_thing:TOY')",
        """
        import sys
        cfg = settings("train")
        print(cfg.losses[0].label, cfg.losses[0].settings)
        print({"numpy", "torch"} & {*sys.modules})
        for preset in ("wrong", "unknown", "misspelt", "unsuited"):
            print(error_of("train", preset))

        import torch
        from connectomake.losses import create_loss
        logits, values = torch.tensor([9.0, 9.0, -9.0, 0.0]).reshape(1, 1, 1, 1, 4), torch.ones(1, 1, 1, 1, 4)
        print(create_loss("toy", from_error=0.9)(logits, values, torch.ones_like(values)).item())

        from connectomake.config.engine.schemas import key_tables
        print(*(line for line in key_tables().splitlines() if "`losses[].loss`" in line))
        """,
    )
    assert label == "toy {'from_error': 0.9}"
    assert heavy == "set()"
    wrong, unknown, misspelt, unsuited = errors
    assert "toy: expected from_error from 0 to 1, got 2" in wrong
    assert "toy has no option 'from_eror': did you mean 'from_error'?" in unknown
    assert "there is no loss 'WrongLos': did you mean 'WrongLoss'?" in misspelt
    assert "it suits sigmoid channels, and 'distance' is tanh" in unsuited
    assert computed == "0.25"
    assert "non_overlap, toy; or what" in described


TARGET = """
    from typing import ClassVar
    from pydantic import Field
    from connectomake.channels import Channel
    from connectomake.config.settings.train_target_kinds import TargetConfig, TargetKind

    class ParityConfig(TargetConfig):
        '''Whether an id is even.'''

        decoders: ClassVar[tuple[str, ...]] = ("semantic",)
        margin_vx: int = Field(1, ge=0, le=4, description="labels that are looked at around a patch")

        @property
        def channels(self):
            return [Channel("parity", "parity")]

    class ParityTarget:
        def __init__(self, cfg, voxel_size_zyx_nm):
            self.channels = cfg.channels
            self.context = ((cfg.margin_vx,) * 3,) * 2

        def make(self, labels, patch):
            import numpy as np

            inside = labels[patch.slices]
            return ((inside > 0) & (inside % 2 == 0)).astype(np.uint8)[None], (inside != -1)[None]

    PARITY = TargetKind(ParityConfig, ParityTarget, "even objects")
"""


def test_a_target(run):
    presets = {
        "train/toy": "targets: {affinity: null, parity: {margin_vx: 2}}\nlosses: [{loss: bce}]",
        "train/wrong": "targets: {parity: {margin_vx: 9}}",
        "train/unknown": "targets: {parity: {margn_vx: 1}}",
        "train/misspelt": "targets: {party: {}}",
    }
    names, heavy, *errors, channels, made, described = run(
        TARGET,
        presets,
        "from connectomake.config.registries import TARGETS\nTARGETS.add('parity', 'toy_thing:PARITY')",
        """
        import sys
        cfg = settings("train").targets
        print(cfg.names, [channel.name for channel in cfg.channels], cfg.section("parity").margin_vx)
        print({"numpy", "numba", "torch", "scipy"} & {*sys.modules})
        for preset in ("wrong", "unknown", "misspelt"):
            print(error_of("train", preset))

        import numpy as np
        from connectomake.geometry import Box
        from connectomake.targets.registry import Targets
        targets = Targets(cfg, (9.0, 9.0, 9.0))
        print([channel.name for channel in targets.channels], targets.context)
        values, mask = targets.make(np.array([[[0, 1, 2, -1]]]), Box((0, 0, 0), (1, 1, 4)))
        print(values.tolist(), mask.tolist())

        from connectomake.config.engine.schemas import key_tables
        print(*(line for line in key_tables().splitlines() if "`targets.parity.margin_vx`" in line))
        """,
    )
    assert names == "['parity'] ['parity'] 2"
    assert heavy == "set()"
    wrong, unknown, misspelt = errors
    assert wrong.startswith("config/train/wrong.yaml:1: train.targets.parity.margin_vx: ")
    assert "did you mean 'margin_vx'?" in unknown
    assert "did you mean 'parity'?" in misspelt
    assert channels == "['parity'] ((2, 2, 2), (2, 2, 2))"
    assert made == "[[[[0, 0, 1, 0]]]] [[[[True, True, True, False]]]]"
    assert "labels that are looked at around a patch" in described
