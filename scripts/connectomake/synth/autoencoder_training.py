"""Train the autoencoder: first all of it on random patches, then its decoder alone on whole volumes.

Idea: 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059).

When to stop: a training ends after `max_steps`, and its last weights are kept. Stage 1 was long enough when, in
metrics.csv, validate_psnr_db is flat and validate_perplexity no longer rises; a perplexity that falls late does no harm
while the PSNR holds. Stage 2 was, when validate_seam_ratio is flat: errors at the borders of patches against those
elsewhere. From the step on at which the discriminator begins, the PSNR may fall a little while textures become sharper,
which is what it is for: so no earlier weights are preferred for their PSNR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import nn

from connectomake.config.settings.synth import Stage1Config, SynthConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.fitting.processes import average_buffers, average_gradients, gather, sum_in_place
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.checkpoints import load_autoencoder, load_discriminator, save_autoencoder
from connectomake.synth.codebook import Quantised
from connectomake.synth.discriminator import adversarial_loss, build_discriminator, discriminator_loss, feature_loss
from connectomake.synth.examples import Example, read_table
from connectomake.synth.fit import Learner, StepData, finish, fit, fixed_settings, processes_of
from connectomake.synth.metrics.reconstruction import CodeUse, score_reconstruction
from connectomake.synth.patches import RandomPatches, Volumes, WholeExamples
from connectomake.synth.perceptual import build_perceptual
from connectomake.synth.tiles import crop_to, pad_to_multiple

LOSSES = ("loss", "l1", "perceptual", "commitment", "adversarial", "features", "discriminator", "perplexity")
SCORES = ("l1", "psnr_db", "ssim", "seam_ratio", "perplexity", "used_codes")
READ = ("autoencoder", "discriminator", "perceptual", "weights")  # settings that both stages read
ENCODED = 8  # patches at a time where no gradient needs them all at once

Batch = dict[str, torch.Tensor]


class AutoencoderTraining(Learner):
    """An autoencoder and its discriminator, which learn against each other.

    A step is a batch, whichever of the two learns from it; see `adversary_turns`. Where both do, both losses are of the
    weights before the step.

    Parameters
    ----------
    model
        The autoencoder; where its encoder is frozen, only its decoder learns.
    discriminator
        Tells volumes from reconstructions.
    cfg
        The generator.
    stage
        The part of `cfg` that says how to train.
    folder
        Of the training; named where it diverges.
    """

    def __init__(
        self,
        model: PatchVolumeAutoencoder,
        discriminator: nn.Module,
        cfg: SynthConfig,
        stage: Stage1Config,
        folder: Path,
    ) -> None:
        network = nn.ModuleDict({"autoencoder": model, "discriminator": discriminator})
        losses = [name for name in LOSSES if not (model.frozen and name in ("commitment", "perplexity"))]
        super().__init__(network, stage, folder, losses, [f"validate_{name}" for name in SCORES])
        self.automatic_optimization = False
        self.synth, self.stage = cfg, stage
        self.perceptual = build_perceptual(cfg.perceptual)

    @property
    def model(self) -> PatchVolumeAutoencoder:
        """The autoencoder."""
        return cast(PatchVolumeAutoencoder, self.network.get_submodule("autoencoder"))

    @property
    def discriminator(self) -> nn.Module:
        """The discriminator."""
        return self.network.get_submodule("discriminator")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make the optimizers, of the autoencoder and of the discriminator."""
        learning = [weight for weight in self.model.parameters() if weight.requires_grad]
        common: dict[str, Any] = {"lr": self.stage.learning_rate, "betas": self.stage.betas, "fused": True}
        return [torch.optim.Adam(weights, **common) for weights in (learning, list(self.discriminator.parameters()))]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Make a step: of the autoencoder, of the discriminator, or of both."""
        real, step = batch["volume"], self.trainer.global_step
        adversary = step >= self.stage.adversary_from_step
        alternates = adversary and self.stage.adversary_turns == "alternate"
        if alternates and step % 2:
            self._step({1: self._loss_of_discriminator(real, self._look(real))})
            return
        made, loss = self._loss_of_autoencoder(real, adversary)
        losses = {0: loss}
        if adversary and not alternates:
            losses[1] = self._loss_of_discriminator(real, made.detach())
        self._step(losses)

    def losses_of(self, batch: Batch) -> list[torch.Tensor]:
        """Return the losses of the autoencoder, against the discriminator too, and of the discriminator."""
        made, loss = self._loss_of_autoencoder(batch["volume"], adversary=True)
        return [loss, self._loss_of_discriminator(batch["volume"], made.detach())]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Average what the discriminator's norms have seen."""
        average_buffers(self.discriminator)

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._found: list[tuple[float, ...]] = []
        self._use = CodeUse(self.synth.autoencoder.codes)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Reconstruct a volume: encoded patch by patch, decoded as a whole."""
        real = batch["volume"]
        made, quantised = self._reconstruct(real)
        scores = score_reconstruction(made[0, 0], real[0, 0], self.synth.autoencoder.patch_zyx_vx)
        self._found.append((float(self._l1(made, real)), *astuple(scores)))
        self._use.add(quantised.codes)

    def on_validation_epoch_end(self) -> None:
        """Log the means over volumes, and how the codebook is used by all of them together."""
        found = [row for rows in gather(self._found) for row in rows]
        means = torch.tensor(found, dtype=torch.float64).nanmean(0)  # volumes of one patch have no seams
        self._use.counts = sum_in_place(torch.from_numpy(self._use.counts).to(self.device)).cpu().numpy()
        scores = (*means.tolist(), self._use.perplexity, self._use.used)
        self.validated = dict(zip(self.scores, scores, strict=True))

    def _reconstruct(self, real: torch.Tensor) -> tuple[torch.Tensor, Quantised]:
        """Return volumes (N, C, Z, Y, X) as they are decoded, and their codes."""
        padded = pad_to_multiple(real, self.model.cfg.patch_zyx_vx)
        learns = torch.is_grad_enabled() and not self.model.frozen
        quantised = self.model.quantise(self.model.encode(padded, None if learns else ENCODED))
        return crop_to(self.model.decode(quantised.latents), real.shape[2:]), quantised

    @torch.no_grad()
    def _look(self, real: torch.Tensor) -> torch.Tensor:
        """Return reconstructions to the discriminator alone: no graph, and the codebook learns nothing."""
        self.model.eval()
        made, _ = self._reconstruct(real)
        self.model.train()
        return made

    def _loss_of_autoencoder(self, real: torch.Tensor, adversary: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return reconstructions and their loss."""
        made, quantised = self._reconstruct(real)
        terms = {"l1": self._l1(made, real), "perceptual": self.perceptual(made[:, :1], real[:, :1])}
        if not self.model.frozen:
            terms["commitment"] = quantised.commitment
            self.trained["perplexity"] = quantised.perplexity
        if adversary:
            self.discriminator.requires_grad_(False)  # its gradients are its own loss's
            seen_made = self.discriminator(made)
            with torch.no_grad():
                seen_real = self.discriminator(real)
            self.discriminator.requires_grad_(True)
            terms |= {"adversarial": adversarial_loss(seen_made), "features": feature_loss(seen_real, seen_made)}
        loss = torch.stack([getattr(self.synth.weights, name) * value.float() for name, value in terms.items()]).sum()
        self.trained |= {name: value.detach().float() for name, value in terms.items()} | {"loss": loss.detach()}
        return made, loss

    def _loss_of_discriminator(self, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """Return how badly the discriminator tells reconstructions, which have no graph, from volumes."""
        loss = discriminator_loss(self.synth.discriminator, self.discriminator(real), self.discriminator(made)).float()
        self.trained["discriminator"] = loss.detach()
        return self.synth.weights.adversarial * loss

    def _l1(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return the mean difference of voxels; that of the map, where there is one, is added with its weight."""
        image, *others = (made.float() - real).abs().mean((0, 2, 3, 4))
        return image + self.synth.labels.weight * sum(others)

    def _step(self, losses: dict[int, torch.Tensor]) -> None:
        """Let the autoencoder (0), the discriminator (1), or both learn.

        Lightning counts the steps of its own optimizers: it is shown one of a batch.
        """
        counted = cast(list[LightningOptimizer], self.optimizers())
        optimizers = [counted[which].optimizer for which in losses]
        for optimizer, loss in zip(optimizers, losses.values(), strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss)
            average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
        self.look_at(torch.stack(list(losses.values())).sum(), *optimizers)
        counted[next(iter(losses))].step()
        for optimizer in optimizers[1:]:
            optimizer.step()


def train_stage1(
    examples: Path, checkpoint: Path, metrics: Path, run_folder: Path, cfg: SynthConfig, threads: int = 1
) -> bool:
    """Train the autoencoder on random patches; the same call after an interruption goes on from the last state.

    Where several processes train together, each makes this call; the first writes.

    Parameters
    ----------
    examples
        examples.tsv.
    checkpoint, metrics
        The files to write when the training is finished.
    run_folder
        States and history of the training, kept between attempts.
    cfg
        Settings.
    threads
        Cores to compute with, of all processes of this node together.

    Returns
    -------
    bool
        Whether it is finished; False where a signal or the time limit of its Slurm job interrupted it, and the outputs
        are not written.

    Raises
    ------
    ResumeMismatchError
        `run_folder` holds a training with other settings or examples.
    ConfigError
        The settings do not fit the machine, or a file of weights that the loss needs is missing.
    DataError
        There is nothing to learn from.
    ModelError
        The training diverged.
    """
    torch.manual_seed(cfg.stage1.seed)
    model = PatchVolumeAutoencoder(cfg.autoencoder, cfg.image_channels)
    discriminator = build_discriminator(cfg.discriminator, cfg.image_channels)
    module = AutoencoderTraining(model, discriminator, cfg, cfg.stage1, run_folder)
    return _train(module, read_table(examples), checkpoint, metrics, run_folder, {"stage": 1}, threads)


def train_stage2(
    examples: Path, stage1: Path, checkpoint: Path, metrics: Path, run_folder: Path, cfg: SynthConfig, threads: int = 1
) -> bool:
    """Train the decoder on whole volumes, which are still encoded patch by patch; otherwise as `train_stage1`.

    Parameters
    ----------
    stage1
        The checkpoint of the first stage: where autoencoder and discriminator go on from.
    examples, checkpoint, metrics, run_folder, cfg, threads
        As there.

    Raises
    ------
    ConfigError
        The first stage trained networks with other settings.
    ModelError
        Encoder or codebook are not what they were, bit by bit; or the training diverged.
    """
    model, meta = load_autoencoder(stage1)
    _check_networks(cfg, meta, stage1)
    model.freeze_encoder()
    torch.manual_seed(cfg.stage2.seed)
    discriminator = load_discriminator(stage1) or build_discriminator(cfg.discriminator, cfg.image_channels)
    module = AutoencoderTraining(model, discriminator, cfg, cfg.stage2, run_folder)
    known = {"stage": 2, "stage1_hash": meta["hash"]}
    return _train(module, read_table(examples), checkpoint, metrics, run_folder, known, threads)


def _train(
    module: AutoencoderTraining,
    examples: Sequence[Example],
    checkpoint: Path,
    metrics: Path,
    run_folder: Path,
    known: dict[str, Any],
    threads: int,
) -> bool:
    """Train, and write what is declared."""
    cfg, stage, frozen = module.synth, module.stage, module.model.frozen_hash()
    settings = known | {"fit": fixed_settings(stage), **cfg.model_dump(mode="json", include=set(READ))}
    settings["labels"] = cfg.labels.model_dump(mode="json", include={"kind", "distance_nm", "weight"})
    settings["examples"] = [example.as_settings() | {"role": example.role} for example in examples]
    with processes_of(stage, threads) as environment:
        if not fit(module, _make_data(examples, module), run_folder, settings, environment):
            return False
        if module.model.frozen and module.model.frozen_hash() != frozen:
            raise ModelError(
                "stage 2 changed the encoder or the codebook, so latents would mean something else",
                expected=f"their hash to stay {frozen[:12]}",
                got=module.model.frozen_hash()[:12],
                hint=f"remove {run_folder} and train again; if it happens again, report it",
            )
        meta = known | {"cfg": cfg.model_dump(mode="json")}
        finish(run_folder, metrics, lambda: save_autoencoder(checkpoint, module.model, meta, module.discriminator))
    return True


def _make_data(examples: Sequence[Example], module: AutoencoderTraining) -> StepData:
    """Return patches to the first stage, volumes to the second, and volumes to validate on to both."""
    cfg, stage = module.synth, module.stage
    volumes = Volumes([e for e in examples if e.role == "learn"], cfg, stage.memory_gb / stage.devices)
    side = stage.crop_zyx_vx if module.model.frozen else cfg.autoencoder.patch_zyx_vx
    held = [example for example in examples if example.role == "hold"]
    return StepData(
        RandomPatches(volumes, side, stage.batch, stage.seed),
        WholeExamples(held, cfg, stage.validate_volumes, stage.crop_zyx_vx),
        stage.batch, stage.max_steps, stage.workers,
    )  # fmt: skip


def _check_networks(cfg: SynthConfig, meta: dict[str, Any], stage1: Path) -> None:
    """Reject networks of the first stage that are not those of the settings."""
    wanted = cfg.model_dump(mode="json")
    for part in ("autoencoder", "discriminator"):
        if meta["cfg"][part] != wanted[part]:
            raise ConfigError(
                f"synth.{part} is not that of {stage1}",
                expected=meta["cfg"][part],
                got=wanted[part],
                hint="run autoencoder_stage1 again",
            )
    if meta["channels"] != cfg.image_channels:
        raise ConfigError(
            f"synth.labels.kind does not fit {stage1}",
            expected=f"{meta['channels']} channels",
            got=cfg.image_channels,
            hint="run autoencoder_stage1 again",
        )
