"""What the trainings of a generator share: steps, states to resume from, time limits, history, several processes.

A training ends after `max_steps`, or after `max_minutes` where that comes first, and its last weights are kept: what a
discriminator or a noise loss says of single steps tells little about how volumes look, so nothing is chosen by it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.utils.data import default_collate

from connectomake.config.settings.synth import FitConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.files import replacing
from connectomake.fitting.finite import Watch, diverged, miscalculated
from connectomake.fitting.history import History, Progress
from connectomake.fitting.loading import Batches, PatchData
from connectomake.fitting.processes import first_does, gather, joined_processes, rank, world
from connectomake.fitting.states import STATES, KeepState, Signals, claim_folder, find_newest_state
from connectomake.fitting.time_limit import find_limit
from connectomake.fitting.trainer import PRECISIONS, choose_arithmetic, make_trainer, train_on
from connectomake.models.checkpoint import load_tensors
from connectomake.models.device import choose_device, keep_freed_memory
from connectomake.precision.choose import choose_proven
from connectomake.precision.operations import Operation, record, unite

log = logging.getLogger(__name__)

# They change how long a training takes or where it ends, but no step of it.
FREE = frozenset(
    {"max_minutes", "device", "precision", "workers", "memory_gb", "checkpoint_every_steps", "checkpoint_every_min"}
)
HINT = "lower learning_rate, set precision to float32, or let the discriminator begin later"
FIRST_STEPS = 16  # that are looked through for shapes of examples
_DRAWN = 1  # part of the seed: what a network draws


class Learner(pl.LightningModule):
    """A training: what `fit` and its callbacks want of one.

    Whatever is drawn at random in a step is a function of its number, so a training that was interrupted goes on as if
    it had not been.

    Parameters
    ----------
    network
        All that a state has to hold.
    cfg
        Settings.
    folder
        Where the training is told about when it diverges.
    losses
        Names of `trained`: ``loss``, and its parts.
    scores
        Names of `validated`.
    """

    def __init__(
        self, network: nn.Module, cfg: FitConfig, folder: Path, losses: Sequence[str], scores: Sequence[str]
    ) -> None:
        super().__init__()
        self.network, self.cfg, self.scores = network, cfg, scores
        self.watch = Watch(folder, name_broken_loss)
        self.batch: Any = None  # the last one
        self.trained: dict[str, torch.Tensor] = {name: torch.zeros(()) for name in losses}
        self.validated: dict[str, float] = {}
        self.validated_channels: dict[str, float] = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the last losses: not every step has all of them."""
        checkpoint["trained"] = {name: value.cpu() for name, value in self.trained.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from what `on_save_checkpoint` added."""
        self.trained = checkpoint["trained"]

    def on_train_start(self) -> None:
        """Bring the losses to where the network is."""
        self.trained = {name: value.to(self.device) for name, value in self.trained.items()}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed what is drawn in this step."""
        self.batch = batch
        self._seed()

    def is_finite_again(self) -> bool:
        """Compute the last batch anew, and tell whether its losses and gradients are finite this time."""
        self._seed()
        self.zero_grad()
        with self.trainer.precision_plugin.forward_context():
            losses = self.losses_of(self.batch)
        for loss in losses:
            loss.backward()
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        self.zero_grad()
        return all(bool(torch.isfinite(value).all()) for value in (*losses, *gradients))

    def _seed(self) -> None:
        numbers = (self.cfg.seed, _DRAWN, self.trainer.global_step * world() + rank())
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))

    def losses_of(self, batch: Any) -> list[torch.Tensor]:
        """Return every loss that a step may learn from, each with the graph of what it teaches.

        Parameters
        ----------
        batch
            Of a step.
        """
        raise NotImplementedError

    def look_at(self, loss: torch.Tensor, *optimizers: torch.optim.Optimizer) -> None:
        """Look whether a step that is about to be made is finite; its gradients are there.

        Parameters
        ----------
        loss
            Of the step.
        optimizers
            Those that make it; fused, so that on a GPU they leave the weights alone where it is not.

        Raises
        ------
        ModelError
            It is not, or on a GPU the one before was not: in all processes.
        """
        weights = [value for optimizer in optimizers for group in optimizer.param_groups for value in group["params"]]
        norm = nn.utils.get_total_norm([value.grad for value in weights if value.grad is not None])
        self.watch.see(loss.detach(), first=True)
        self.watch.check(self, optimizers[0], norm)
        for other in optimizers[1:]:
            if hasattr(optimizers[0], "found_inf"):
                other.found_inf = optimizers[0].found_inf  # type: ignore[attr-defined]


class StepData(PatchData):
    """Batches of each step, and one whole volume after the other to validate on.

    A batch holds the samples whose numbers `numbers_of` gives: consecutive ones, unless a subclass wants others.
    """

    def val_dataloader(self) -> Batches:
        """Load every volume to one process, by itself: shapes may differ."""
        mine, others = self._place()
        return Batches(self.validation, lambda: ([number] for number in range(mine, len(self.validation), others)))


class OwnGradients(DDPStrategy):
    """Several processes whose training averages its gradients itself, as one with two optimizers has to.

    DistributedDataParallel expects one backward pass a step, through all weights.
    """

    def configure_ddp(self) -> None:
        """Leave the training as it is."""


@contextmanager
def processes_of(cfg: FitConfig, threads: int) -> Iterator[ClusterEnvironment]:
    """Set up this process for a training, and meet the others; only the first tells what happens.

    Raises
    ------
    ConfigError
        There are not as many processes as the settings say, or not as many GPUs.
    """
    torch.set_num_threads(max(1, threads // cfg.devices))
    if choose_device(cfg.device).type == "cpu":
        keep_freed_memory()
    with joined_processes(cfg) as environment:
        if rank():
            logging.disable(logging.WARNING)
        yield environment


def fixed_settings(cfg: FitConfig) -> dict[str, Any]:
    """Return what must not change between two attempts of one training."""
    return cfg.model_dump(mode="json", exclude=set(FREE))


def fit(
    module: Learner,
    data: StepData,
    run_folder: Path,
    settings: dict[str, Any],
    environment: ClusterEnvironment,
) -> bool:
    """Train to the end, or go on where the last attempt stopped.

    Parameters
    ----------
    module
        The training, as it begins; changed in place. With `automatic_optimization` its gradients are averaged over
        processes while they are being computed, otherwise it does so itself.
    data
        What it learns from and is validated on.
    run_folder
        States and history, kept between attempts.
    settings
        What must not change between them: plain data.
    environment
        What `processes_of` gave.

    Returns
    -------
    bool
        Whether it is finished; False where a signal or the time limit of its Slurm job interrupted it.

    Raises
    ------
    ResumeMismatchError
        `run_folder` holds a training with other settings.
    ModelError
        The training diverged.
    ConfigError
        A step needs more memory than the GPU has.
    """
    first_does(lambda: claim_folder(run_folder, settings))
    state = first_does(lambda: find_newest_state(run_folder / STATES))
    with Signals() as signals:
        limit = first_does(find_limit)
        keep = KeepState(run_folder / STATES, module.cfg, signals, limit)
        if state is not None and _is_finished(module, state, keep):
            return True
        history = History(run_folder, keep, name_columns(module))
        trainer = _make_trainer(module, data, environment, [history, Progress(), keep])
        try:
            return train_on(trainer, module, data, state, limit)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the GPU's memory does not suffice for a step with batch {module.cfg.batch}",
                got=str(error).split(". ")[0],
                hint="lower batch, patch_zyx_vx or crop_zyx_vx, or set precision to bfloat16",
            ) from error


def finish(run_folder: Path, metrics: Path, save: Callable[[], object]) -> None:
    """Write what a finished training declares: its checkpoint, and then the course of the training; the first does.

    Parameters
    ----------
    run_folder
        As in `fit`.
    metrics
        The file to write: all rows of ``metrics.csv``.
    save
        Writes the checkpoint.
    """
    if rank() == 0:
        save()
        with replacing(metrics) as temporary:
            shutil.copyfile(run_folder / "metrics.csv", temporary)


def name_columns(module: Learner) -> list[str]:
    """Name the columns of metrics.csv."""
    return [
        "step",
        "seconds",
        "steps_per_s",
        "learning_rate",
        *(f"train_{name}" for name in module.trained),
        *module.scores,
    ]


def name_broken_loss(module: Learner, step: int, folder: Path) -> ModelError:
    """Return the error for a step that is not finite: which loss, or else that it is a gradient.

    On a CPU the step is computed again first, for a computer that computes wrongly; a GPU is at another batch by now.
    """
    if all(gather(module.device.type == "cpu" and module.batch is not None and module.is_finite_again())):
        return miscalculated(step + 1, module)
    broken = [name for name, value in module.trained.items() if not bool(torch.isfinite(value))]
    terms = [f"the loss {name}" for name in broken if name != "loss"] or ["the loss"] * bool(broken)
    everywhere = [found for found in gather(terms) if found]
    what = everywhere[0][0] if everywhere else "the gradient"
    return diverged(step + 1, f"{what}; see {folder}/metrics.csv", HINT)


def _is_finished(module: Learner, state: Path, keep: KeepState) -> bool:
    """Return whether a state is that of a training's end, and if so take it over."""
    found = load_tensors(state)
    if not found["callbacks"][keep.state_key]["finished"]:
        log.info("training goes on from %s", state)
        return False
    module.on_load_checkpoint(found)
    module.load_state_dict(found["state_dict"])
    return True


def list_operations(module: Learner, data: StepData) -> list[Operation]:
    """List what a training computes, by one step of each shape and one validation in float32, of a copy.

    Parameters
    ----------
    module
        The training, not begun; stays as it is.
    data
        What it learns from.
    """
    copy = deepcopy(module)
    batches: dict[str, Any] = {}
    for step in range(min(FIRST_STEPS, module.cfg.max_steps)):
        for numbers in data.numbers_of(step, 0, 1):
            batch = default_collate([data.training[number] for number in numbers])
            batches.setdefault(str({name: value.shape for name, value in batch.items()}), batch)
    found = [record(partial(copy.losses_of, batch)) for batch in batches.values()]
    if len(data.validation):
        copy.eval()
        copy.on_validation_epoch_start()
        with torch.no_grad():
            found.append(record(lambda: copy.validation_step(default_collate([data.validation[0]]), 0)))
    return unite(found)


def _make_trainer(
    module: Learner, data: StepData, environment: ClusterEnvironment, callbacks: Sequence[pl.Callback]
) -> pl.Trainer:
    """Make the trainer; see `make_trainer`."""
    validates = len(data.validation) > 0
    dtype = choose_arithmetic(
        module.cfg,
        lambda precision, device: choose_proven("precision", precision, device, lambda: list_operations(module, data)),
    )
    if not validates:
        log.warning("no example is held out: nothing will tell whether the networks only learn by heart")
    log.info("%s parameters, %s", f"{sum(p.numel() for p in module.network.parameters()):,}", PRECISIONS[dtype])
    strategy = None if module.automatic_optimization else OwnGradients()
    return make_trainer(module.cfg, dtype, environment, validates, callbacks, strategy)
