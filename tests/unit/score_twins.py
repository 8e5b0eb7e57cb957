"""Small submissions to score, and slow ways to the same numbers, from the definitions."""

import json
from itertools import combinations, permutations

import numpy as np
from scipy.ndimage import distance_transform_edt

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.cellmap.tree import labels_group
from connectomake.submit.score.labels import LabelPair, Labels

VOXELS_NM = (8.0, 4.0, 4.0)
CHUNK = (7, 16, 32)
_STEPS = ("scale", "translation")


def make_pair(truth, submitted, voxel_size=VOXELS_NM, slab_voxels=2**25, unknown=None, mask=None):
    """Return arrays as a pair of labels."""
    grid = CropGrid(truth.shape, tuple(voxel_size), (0.0, 0.0, 0.0))
    of_truth = Labels("truth", truth.__getitem__, unknown, None if mask is None else mask.__getitem__)
    return LabelPair(grid, of_truth, Labels("submitted", submitted.__getitem__), slab_voxels)


def components_twin(labels):
    """Number components by a flood fill from each voxel, in scan order."""
    numbers, count = np.zeros(labels.shape, int), 0
    for start in np.argwhere(labels):
        if numbers[tuple(start)]:
            continue
        count += 1
        numbers[tuple(start)] = count
        stack = [start]
        while stack:
            place = stack.pop()
            low, high = np.maximum(place - 1, 0), np.minimum(place + 2, labels.shape)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            for step in np.argwhere((labels[box] == labels[tuple(place)]) & (numbers[box] == 0)):
                numbers[tuple(low + step)] = count
                stack.append(low + step)
    return numbers, count


def hausdorff_twin(a, b, voxel_size):
    """Measure by distance maps of the whole volume."""
    to_a, to_b = (distance_transform_edt(~of, sampling=voxel_size) for of in (a, b))
    return max(to_b[a].max(), to_a[b].max())


def score_twin(truth, submitted, voxel_size=VOXELS_NM):
    """Score objects by trying every way to pair them: all sums of the cheapest ones."""
    components, n_components = components_twin(submitted)
    ids = [int(i) for i in np.unique(truth) if i]
    n_truth = int(truth.max())
    if n_truth and n_components and n_components / n_truth > 10 + 50 * np.exp(-n_truth / 5):
        return 0, 0, 0, [0.0], 0
    most = min(n * size for n, size in zip(truth.shape, voxel_size, strict=True)) / 2
    cost = {}
    for t in ids:
        for s in range(1, n_components + 1):
            both = ((truth == t) & (components == s)).sum()
            if both:
                union = ((truth == t) | (components == s)).sum()
                cost[t, s] = int((1 - float(np.float32(both / union))) * 1_000_000)
    best = {}
    for pairs in _all_pairings(ids, range(1, n_components + 1), cost):
        total = sum(cost[p] for p in pairs) + (len(ids) - len(pairs)) * 1_000_001
        best.setdefault(total, []).append(pairs)
    sums = []
    for pairs in best[min(best)]:
        stands_for = np.arange(n_components + 1)
        for t, s in pairs:
            stands_for[s] = t
        labels = stands_for[components]
        nm = [
            min(most, hausdorff_twin(truth == t, labels == t, voxel_size)) if (labels == t).any() else most for t in ids
        ]
        nm += [most] * (n_components - len(pairs))
        sums.append((1.01 ** (-np.array(nm) / np.linalg.norm(voxel_size))).sum())
    tp = len(best[min(best)][0])
    return tp, n_components - tp, len(ids) - tp, sums, len(ids) + n_components - tp


def _all_pairings(ids, components, cost):
    for n in range(min(len(ids), len(components)) + 1):
        for chosen in combinations(ids, n):
            for partners in permutations(components, n):
                if all(pair in cost for pair in zip(chosen, partners, strict=True)):
                    yield tuple(zip(chosen, partners, strict=True))


def write_arrays(path, arrays, attributes=None):
    """Write {crop/class: array} as a Zarr 2 store; attributes by name, else voxel size and translation."""
    import zarr

    root = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in arrays.items():
        array = root.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=CHUNK, fill_value=0, compressors=None
        )
        array[...] = values
        told = {"voxel_size": list(VOXELS_NM), "translation": [0.0, 0.0, 0.0], "shape": list(values.shape)}
        array.attrs.update((attributes or {}).get(name, told))
    return path


def make_tree(tree, truth, unknown=None):
    """Write arrays as the level s1 of multiscale groups, below an s0 of finer voxels, in the tree's layout."""
    half = [size / 2 for size in VOXELS_NM]
    places = [(half, [-size / 2 for size in half]), (list(VOXELS_NM), [0.0, 0.0, 0.0])]
    levels = [
        {"path": f"s{k}", "coordinateTransformations": [{"type": t, t: v} for t, v in zip(_STEPS, place, strict=True)]}
        for k, place in enumerate(places)
    ]
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    encoding = {"absent": 0} | ({} if unknown is None else {"unknown": unknown})
    told = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]}
    told["cellmap"] = {"annotation": {"annotation_type": {"encoding": encoding}}}
    for name, values in truth.items():
        group = labels_group(tree, "jrc_x", name.split("/")[0]) / name.split("/")[1]
        write_arrays(group, {"s0": values.repeat(2, 0).repeat(2, 1).repeat(2, 2), "s1": values})
        (group / ".zattrs").write_text(json.dumps(told))
    return tree


def write_rows(path, shapes, voxel_size=VOXELS_NM):
    """Write the manifest of {crop/class: shape}."""
    rows = []
    for name, shape in shapes.items():
        crop, label = name.split("/")
        rows.append(ManifestRow(crop, "jrc_x", label, CropGrid(tuple(shape), tuple(voxel_size), (0.0, 0.0, 0.0))))
    write_manifest(path, rows)
    return path
