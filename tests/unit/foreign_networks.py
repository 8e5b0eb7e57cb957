"""Small networks as TorchScript, exported programs and MONAI bundles, and their way into a checkpoint."""

import json
import warnings
import zipfile
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn import functional

from connectomake.models.checkpoint import load_checkpoint
from connectomake.models.importing import import_network

OFFSETS = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
TOLD = {
    "offsets_zyx_vx": OFFSETS,
    "voxel_size_zyx_nm": [40, 16, 16],
    "normalisation": {"mean": 0, "std": 255},
    "window_zyx_vx": [8, 8, 16],
}


class Mixed(nn.Module):
    """All that programs are made of: weights, constants, parts, states that depend on training, sizes, two scales."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 3, 1)
        self.norm, self.batch, self.group = nn.InstanceNorm3d(4), nn.BatchNorm3d(4), nn.GroupNorm(2, 4)
        self.drop = nn.Dropout(0.5)
        self.tied = self.norm
        self.register_buffer("gain", torch.full((1,), 1.5), persistent=False)
        self.shift = torch.tensor([0.25])
        self.batch.running_mean.normal_()

    def forward(self, x):
        x = self.drop(self.batch(self.norm(self.first(x)))).relu_()
        small = self.group(functional.max_pool3d(x, 2))
        a, b = small.split(2, 1)
        large = functional.interpolate(torch.cat([b, a], 1), size=x.shape[2:], mode="trilinear")
        out = self.last(x + large * self.gain + self.shift.to(x.device) * x.new_ones(4, 1, 1, 1))
        return out, small


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        return {"coarse": functional.avg_pool2d(x, 2), "logits": self.layer(x)}


def describe(folder, **changes):
    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (TOLD | changes).items() if value is not None}))
    return path


def bring_only(folder, network, **changes):
    """Import a network."""
    import_network(network, describe(folder, **changes), folder / "model.ckpt")


def bring(folder, network, **changes):
    """Import a network, and open it."""
    bring_only(folder, network, **changes)
    return load_checkpoint(folder / "model.ckpt")


def script(path, network, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = torch.jit.script(network)
        torch.jit.save(torch.jit.freeze(made) if kwargs.get("frozen") else made, path)
    return path


def export(path, network, shape=(1, 1, 8, 8, 16), dynamic=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.export.save(torch.export.export(network, (torch.rand(shape),), dynamic_shapes=dynamic), path)
    return path


def any_window(axes=(2, 3, 4)):
    return {"x": {0: torch.export.Dim("n"), **{axis: 2 * torch.export.Dim(f"d{axis}") for axis in axes}}}


def bundle(folder, definition, state, config=None, metadata=None):
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs/inference.json").write_text(json.dumps({"network_def": definition, **(config or {})}))
    if metadata:
        (folder / "configs/metadata.json").write_text(json.dumps({"network_data_format": metadata}))
    torch.save(state, folder / "models/model.pt")
    return folder


def same(network, twin, shape=(2, 1, 8, 8, 16)):
    volume = torch.randn(shape)
    with torch.inference_mode():
        result = twin(volume)
        torch.testing.assert_close(network(volume), result[0] if isinstance(result, tuple) else result)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("stolen"),)


def rewrite_all(path, change):
    """Change a dict of the files in an archive."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    change(held)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return path


def rewrite(path, change):
    """Change the files in an archive, one after another."""
    return rewrite_all(path, lambda held: held.update({name: change(name, held[name]) for name in held}))


def change_model(change):
    def apply(name, content):
        if not name.endswith("models/model.json"):
            return content
        model = json.loads(content)
        change(model)
        return json.dumps(model)

    return apply
