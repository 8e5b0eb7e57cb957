"""Train the denoiser on latents, several shapes of volumes together.

Idea: 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059). What generates is a moving average of the weights, which is
also what is validated: on held-out latents, always with the same noise.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import DataError
from connectomake.fitting.averages import move_average
from connectomake.fitting.processes import first_does, rank, sum_in_place, world
from connectomake.synth.biflownet import build_denoiser
from connectomake.synth.buckets import Buckets
from connectomake.synth.checkpoints import load_autoencoder, save_diffusion
from connectomake.synth.diffusion import Diffusion
from connectomake.synth.examples import classes_of, read_table
from connectomake.synth.fit import Learner, StepData, finish, fit, fixed_settings, processes_of
from connectomake.synth.latents import Latent, Normalisation, measure_normalisation, read_latents

log = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]
DRAWS = 4  # of step and noise, for each volume that is validated on
KEPT_GB = 8.0  # latents that the processes of a node keep in memory, together


class DiffusionTraining(Learner):
    """A denoiser that learns.

    Parameters
    ----------
    cfg
        The generator.
    classes
        How many there are.
    normalisation
        From latents as they are stored to what is learnt.
    folder
        Where the training is told about when it diverges.
    """

    def __init__(self, cfg: SynthConfig, classes: int, normalisation: Normalisation, folder: Path) -> None:
        super().__init__(build_denoiser(cfg, classes), cfg.diffusion, folder, ["loss"], ["validate_loss"])
        self.average = deepcopy(self.network).requires_grad_(False)
        self.settings, self.classes, self.normalisation = cfg.diffusion, classes, normalisation
        self.diffusion = Diffusion(cfg.diffusion.timesteps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        rate, betas = self.settings.learning_rate, self.settings.betas
        return torch.optim.Adam(self.network.parameters(), lr=rate, betas=betas, fused=True)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        (loss,) = self.losses_of(batch)
        self.trained = {"loss": loss.detach()}
        return loss

    def losses_of(self, batch: Batch) -> list[torch.Tensor]:
        """Return the loss of a batch, of whose classes some are hidden."""
        hidden = torch.rand(len(batch["class"])) < self.settings.label_dropout
        y = batch["class"].masked_fill(hidden.to(self.device), self.classes)
        return [self._loss(self.network, batch, y, torch.default_generator)]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look whether the step is finite."""
        self.look_at(self.trained["loss"], optimizer)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average."""
        step, ema = self.trainer.global_step, self.settings.ema
        if step < ema.from_step:
            move_average(self.average, self.network, 1)
        elif step % ema.every_steps == 0:
            move_average(self.average, self.network, 1 - ema.decay)

    def on_validation_epoch_start(self) -> None:
        """Forget the sums of the last validation."""
        self._sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the losses of a volume, whose noise is its own in each validation."""
        own = torch.Generator().manual_seed(batch_idx * world() + rank())
        for _ in range(DRAWS):
            loss = self._loss(self.average, batch, batch["class"], own)
            self._sums += torch.stack([loss.double(), torch.ones_like(loss, dtype=torch.float64)])

    def on_validation_epoch_end(self) -> None:
        """Log the mean."""
        total, count = sum_in_place(self._sums).tolist()
        self.validated = {"validate_loss": total / count}

    def _loss(
        self, network: torch.nn.Module, batch: Batch, y: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        x0 = self.normalisation.normalise(batch["z"])
        return self.diffusion.loss(network, x0, y, batch.get("map"), generator, self.settings.loss)


class LatentSamples:
    """Latents by number; the first of them, as many as fit in the memory, are read only once.

    Parameters
    ----------
    latents
        Which.
    classes
        Names of the classes, in the order of their numbers.
    with_map
        Whether the map that images are made for belongs to them.
    memory_gb
        Memory to keep them in (GB).
    """

    def __init__(self, latents: Sequence[Latent], classes: Sequence[str], with_map: bool, memory_gb: float) -> None:
        self.latents, self.with_map = latents, with_map
        self.numbers = {name: np.int64(number) for number, name in enumerate(classes)}
        self._kept: list[dict[str, Any]] = []
        left = memory_gb * 1e9
        while left > 0 and len(self._kept) < len(latents):
            self._kept.append(self._read(len(self._kept)))
            left -= sum(value.nbytes for value in self._kept[-1].values())

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return ``z`` (E, z, y, x), ``class``, and for images made for labels ``map`` (1, Z, Y, X), in [-1, 1]."""
        return self._kept[number] if number < len(self._kept) else self._read(number)

    def _read(self, number: int) -> dict[str, Any]:
        latent = self.latents[number]
        found = {"z": latent.read(), "class": self.numbers[latent.example.class_name]}
        return found | ({"map": latent.read_map()} if self.with_map else {})


class LatentData(StepData):
    """Batches of the samples that `buckets` gives, and held-out ones, one by one."""

    training: LatentSamples

    def __init__(
        self, training: LatentSamples, validation: LatentSamples, buckets: Buckets, steps: int, workers: int
    ) -> None:
        super().__init__(training, validation, max(buckets.batches), steps, workers)
        self.buckets = buckets

    def numbers_of(self, step: int, rank: int, world: int) -> list[list[int]]:
        """Return the numbers of the samples that one of several processes takes in a step."""
        return [self.buckets.numbers_of(step, rank, world)]


def train_diffusion(
    examples: Path,
    autoencoder: Path,
    latents: Path,
    checkpoint: Path,
    metrics: Path,
    run_folder: Path,
    cfg: SynthConfig,
    threads: int = 1,
) -> bool:
    """Train the denoiser; the same call after an interruption goes on from the last state.

    Parameters
    ----------
    examples
        examples.tsv.
    autoencoder
        model.ckpt of the second stage.
    latents
        The folder of their latents.
    checkpoint, metrics
        The files to write when the training is finished.
    run_folder
        States, history and settings, kept between attempts.
    cfg
        The generator.
    threads
        Cores to compute with, of all processes of this node together.

    Returns
    -------
    bool
        Whether the training is finished; False where a signal or the time limit of its Slurm job interrupted it.

    Raises
    ------
    MissingDataError
        Latents are missing.
    DataError
        They are of another autoencoder, or of other examples.
    ResumeMismatchError
        `run_folder` holds a training with other settings or latents.
    ModelError
        The training diverged.
    """
    with processes_of(cfg.diffusion, threads) as environment:
        table, own_hash = read_table(examples), load_autoencoder(autoencoder)[1]["hash"]
        found, classes = read_latents(latents, own_hash, table), classes_of(table)
        normalisation = first_does(lambda: measure_normalisation(found, cfg.latents.normalise))
        data = _prepare(found, classes, cfg)
        torch.manual_seed(cfg.diffusion.seed)
        module = DiffusionTraining(cfg, len(classes), normalisation, run_folder)
        meta = {"classes": classes, "autoencoder_hash": own_hash, "normalisation": normalisation.as_plain()}
        if not fit(module, data, run_folder, meta | _fixed(data, cfg), environment):
            return False
        meta["cfg"] = cfg.model_dump(mode="json")
        average = module.average.state_dict()
        finish(run_folder, metrics, lambda: save_diffusion(checkpoint, average, module.network, meta))
    return True


def _fixed(data: LatentData, cfg: SynthConfig) -> dict[str, Any]:
    """Return what must not change between two attempts, as plain data."""
    learnt = [[latent.path.name, latent.example.as_settings()] for latent in data.training.latents]
    return {
        "diffusion": fixed_settings(cfg.diffusion),
        "denoiser": cfg.denoiser.model_dump(mode="json"),
        "labels": cfg.labels.kind,
        "latents": hashlib.sha256(json.dumps(learnt).encode()).hexdigest(),
    }


def _prepare(latents: Sequence[Latent], classes: Sequence[str], cfg: SynthConfig) -> LatentData:
    """Put together what is learnt from, and what is validated on."""
    learnt = [latent for latent in latents if latent.example.role == "learn"]
    held = [latent for latent in latents if latent.example.role == "hold"]
    held = _spread(held, cfg.diffusion.validate_volumes)
    with_map, diffusion = cfg.labels.kind == "conditional", cfg.diffusion
    training = LatentSamples(learnt, classes, with_map, KEPT_GB / diffusion.devices)
    validation = LatentSamples(held, classes, with_map, 0)
    buckets = Buckets([latent.shape_zyx for latent in learnt], batches_of(learnt, cfg), diffusion.seed)
    return LatentData(training, validation, buckets, diffusion.max_steps, diffusion.workers)


def batches_of(latents: Sequence[Latent], cfg: SynthConfig) -> dict[tuple[int, ...], int]:
    """Return the batch of each shape of latents; of examples of two shapes that are padded to one, the smaller.

    Raises
    ------
    DataError
        Latents are of examples of another shape than the settings name.
    """
    shapes, diffusion = cfg.examples.shapes_zyx_vx, cfg.diffusion
    known = dict(zip(shapes, diffusion.batches or [diffusion.batch] * len(shapes), strict=True))
    found: dict[tuple[int, ...], int] = {}
    for latent in latents:
        shape = latent.example.shape_zyx_vx
        if shape not in known:
            raise DataError(
                f"the example {latent.example.key} has none of examples.shapes_zyx_vx",
                expected=" or ".join(str(list(one)) for one in shapes),
                got=list(shape),
                hint="run list_examples again",
            )
        found[latent.shape_zyx] = min(known[shape], found.get(latent.shape_zyx, known[shape]))
    return found


def _spread(latents: Sequence[Latent], count: int) -> list[Latent]:
    """Take a few, from all over the table, and so of all classes."""
    places = np.linspace(0, len(latents) - 1, min(count, len(latents)))
    return [latents[round(place)] for place in places]
