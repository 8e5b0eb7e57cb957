"""Measure a generator: its reconstructions of held-out volumes, and what it makes beside them.

Idea and choice of numbers: 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059), which gives Frechet distance, MMD and
MS-SSIM, without saying what two sets of real volumes would reach; here each number stands beside that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import DataError, ModelError
from connectomake.log import progress
from connectomake.models.device import choose_device
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.checkpoints import load_autoencoder
from connectomake.synth.examples import Example, read_table
from connectomake.synth.latents import Latent, read_latents
from connectomake.synth.metrics.compare import Compared, Seen, compare, list_reconstructions
from connectomake.synth.metrics.compared_volumes import Group, Piece, list_made, list_real
from connectomake.synth.metrics.features import Encoded, FeatureReader
from connectomake.synth.metrics.histograms import look_at
from connectomake.synth.metrics.memorisation import NearestLatents
from connectomake.synth.metrics.reconstruction import CodeUse, Scores, score_reconstruction
from connectomake.synth.metrics.rows import ALL, Row, write_rows
from connectomake.synth.metrics.samples import Samples
from connectomake.synth.tiles import crop_to, pad_to_multiple

log = logging.getLogger(__name__)


def generation_metrics(
    examples: Path,
    stage1: Path,
    stage2: Path,
    latents: Path,
    volumes: Sequence[Path],
    folder: Path,
    cfg: SynthConfig,
    table: Path,
    numbers: Path,
    samples: Path,
    threads: int = 1,
) -> list[Row]:
    """Measure a generator, and write its numbers and the slices that pictures show.

    One volume is held at a time (two for MS-SSIM), beside the numbers of each.

    Parameters
    ----------
    examples
        examples.tsv.
    stage1, stage2
        Checkpoints of the autoencoder.
    latents
        Folder of the latents that the diffusion model learnt from.
    volumes
        Markers of the jobs of `generate`.
    folder
        Folder of the volumes that these made.
    cfg
        The generator; ``generate`` says how volumes are decoded, ``metrics`` what is measured.
    table, numbers, samples
        Written: metrics.tsv, metrics.json, samples.npz.
    threads
        Of torch.

    Returns
    -------
    list of Row
        What the table holds.

    Raises
    ------
    ModelError
        The two checkpoints do not have one encoder.
    DataError, MissingDataError
        Latents are of another autoencoder, no example is held out, or a volume is not there.
    ConfigError
        The features' file of weights is missing or holds another network.
    """
    torch.set_num_threads(threads)
    listed = read_table(examples)
    learnt, held = ([example for example in listed if example.role == role] for role in ("learn", "hold"))
    if not held:
        raise DataError(f"{examples} holds out no example to measure by", hint="give volumes of role validate or test")
    made = list_made(volumes, folder, cfg)
    device = choose_device(cfg.generate.device)
    models, autoencoder_hash = open_stages(stage1, stage2, device)
    viewer = Viewer(models, read_latents(latents, autoencoder_hash, learnt), cfg, device)
    real = [viewer.reconstruct(piece) for piece in progress(list_real(held, cfg), len(held), "held-out volumes")]
    new = [viewer.see(piece, "made") for piece in progress(made, len(made), "generated volumes")]
    some = list_real(draw_learnt(learnt, made, cfg.metrics.seed), cfg)
    known = [viewer.see(piece, None) for piece in progress(some, len(some), "learnt volumes")]
    nearest = iter(viewer.nearest.finish())
    real, new = ([replace(seen, nearest=next(nearest)) for seen in group] for group in (real, new))
    rows = [*list_reconstructions(viewer.scores), *viewer.count_codes()]
    rows += [
        row for group, seen in group_up(new, real, known) for row in compare(group, seen, viewer.name, cfg.metrics)
    ]
    viewer.samples.save(samples)
    about = {"features": viewer.name, "autoencoder": autoencoder_hash, "made": len(made), "held_out": len(held)}
    write_rows(table, numbers, rows, about)
    return rows


class Viewer:
    """Looks at volumes, one after the other, and keeps what is to be known of them.

    Parameters
    ----------
    models
        The autoencoder after both stages.
    learnt
        The latents that the generator learnt from.
    cfg
        The generator.
    device
        Where the models are.
    """

    def __init__(
        self,
        models: dict[str, PatchVolumeAutoencoder],
        learnt: Sequence[Latent],
        cfg: SynthConfig,
        device: torch.device,
    ) -> None:
        self.models, self.cfg, self.device = models, cfg, device
        self.reader = FeatureReader(models["stage2"], cfg.metrics)
        self.name, self.nearest, self.samples = self.reader.name, NearestLatents(learnt), Samples()
        self.codes = CodeUse(models["stage2"].cfg.codes)
        self.scores: list[tuple[Group, dict[str, Scores]]] = []
        # As the generator's latents were padded, so that latents of one shape of volumes have one shape.
        self.multiple_zyx_vx = learnt[0].attributes["multiple_zyx_vx"]

    def see(self, piece: Piece, kind: str | None) -> Seen:
        """Look at a volume; one with a `kind` is compared with what was learnt, and shown."""
        return self._see(piece, piece.read(), kind)[0]

    def reconstruct(self, piece: Piece) -> Seen:
        """Look at a real volume that was held out, and reconstruct it."""
        x = piece.read()
        seen, encoded = self._see(piece, x, "real")
        patch = self.cfg.autoencoder.patch_zyx_vx
        volumes, scores = {"real": x[0]}, {}
        with torch.inference_mode():
            quantised = self.models["stage2"].quantise(encoded.z)
            self.codes.add(quantised.codes)
            for stage, model in self.models.items():
                own = self.cfg.generate
                whole = model.decode_in_tiles(quantised.latents, own.decode_zyx_vx, own.overlap)
                made = crop_to(whole, x.shape[1:])[0, 0].clamp(-1, 1)
                scores[stage] = score_reconstruction(made, torch.from_numpy(x[0]).to(made.device), patch)
                volumes[stage] = made.cpu().numpy()
        self.scores.append((piece.group, scores))
        self.samples.add_reconstruction(piece, volumes, scores, list(patch))
        return seen

    def count_codes(self) -> list[Row]:
        """Return how much of the codebook the reconstructed volumes need."""
        n = len(self.scores)
        said = f"{len(self.codes.counts)} codes"
        used = Row(ALL, ALL, "used_codes", self.codes.used, n, features=said, better="higher")
        return [used, replace(used, metric="code_perplexity", value=self.codes.perplexity)]

    def _see(self, piece: Piece, x: np.ndarray, kind: str | None) -> tuple[Seen, Encoded]:
        padded = pad_to_multiple(torch.from_numpy(x)[None].to(self.device), self.multiple_zyx_vx)
        encoded = self.reader.read(padded)
        if kind is not None:
            self.nearest.add(encoded.z[0].cpu().numpy())
            self.samples.add(kind, piece, x[0])
        return Seen(piece, encoded.features, look_at(x[0])), encoded


def open_stages(stage1: Path, stage2: Path, device: torch.device) -> tuple[dict[str, PatchVolumeAutoencoder], str]:
    """Open the autoencoder after both stages, and give the hash of the second.

    Raises
    ------
    ModelError
        They do not have one encoder and codebook.
    """
    (first, _), (second, meta) = (load_autoencoder(path, device) for path in (stage1, stage2))
    if first.frozen_hash() != second.frozen_hash():
        raise ModelError(
            f"{stage2} does not go on from {stage1}",
            expected=f"encoder and codebook {first.frozen_hash()[:12]}",
            got=second.frozen_hash()[:12],
            hint="run autoencoder_stage2 again",
        )
    return {"stage1": first, "stage2": second}, meta["hash"]


def draw_learnt(learnt: Sequence[Example], made: Sequence[Piece], seed: int) -> list[Example]:
    """Draw as many examples of each class and shape as were made, two at least: distances depend on the number."""
    drawn = []
    groups = sorted({Group(example.class_name, example.shape_zyx_vx) for example in learnt})
    for number, group in enumerate(groups):
        own = [example for example in learnt if (example.class_name, example.shape_zyx_vx) == group]
        count = max(2, sum(piece.group == group for piece in made))
        order = np.random.default_rng([seed, number]).permutation(len(own))
        drawn += [own[place] for place in order[:count]]
    return drawn


def group_up(made: Sequence[Seen], held: Sequence[Seen], learnt: Sequence[Seen]) -> Iterator[tuple[Group, Compared]]:
    """Return the volumes of each class and shape that was made; warns where these cannot be compared."""
    for group in sorted({seen.piece.group for seen in made}):
        own, real, known = ([seen for seen in some if seen.piece.group == group] for some in (made, held, learnt))
        if min(len(own), len(real)) < 2:
            message = (
                "class %s, shape %s: %d generated and %d held-out volumes; distances need 2 of each and are left empty"
            )
            log.warning(message, *group.as_text(), len(own), len(real))
        yield group, Compared(own, real, known)
