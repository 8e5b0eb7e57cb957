"""Autoconfig's half that a GPU decides: trials of steps in a process of its own, and what is chosen by them."""

import time
from dataclasses import dataclass
from typing import Any

from connectomake.autoconfig.child import Child
from connectomake.autoconfig.machine import find_machine
from connectomake.autoconfig.measure import CPU_SHARE, GPU_SHARE, list_patches
from connectomake.autoconfig.search import divisors
from connectomake.autoconfig.trials import Trials, choose_precision, choose_size
from connectomake.config.settings.train import TrainConfig
from connectomake.geometry import Triple, to_triple

TOO_MANY = 8192  # patches at once, which no GPU holds


@dataclass(frozen=True)
class Fitted:
    """What trials chose, what they said of a batch that is too large, and whether they went on after it."""

    name: str
    patch_zyx: Triple
    batch: int
    precision: str
    step_s: float
    peak_gb: float
    trials: int
    too_large: str
    goes_on: bool

    @property
    def numbers(self) -> dict[str, Any]:
        """What is told of it."""
        chosen = f"{self.batch} x {' x '.join(map(str, self.patch_zyx))} in {self.precision}"
        return {"chosen": chosen, "step_s": self.step_s, "peak_gb": self.peak_gb, "trials": self.trials}


def fit_to_device(cfg: TrainConfig, budget_s: float, too_many: int = TOO_MANY) -> Fitted:
    """Choose precision, patch and batch by trials on this machine, as `autoconfig.measure` does before its loader."""
    deadline, machine = time.monotonic() + budget_s, find_machine()
    most_bytes, plain = int(CPU_SHARE * machine.memory_bytes), cfg.model_dump(mode="json")
    settings = {"train": plain, "split": None, "gpu_share": GPU_SHARE, "threads": machine.cores}
    with Child(settings, machine.cores, most_bytes) as child:
        said = child.start(deadline)
        gpus, wanted, patches = said["gpus"], to_triple(cfg.patch_zyx_vx), list_patches(cfg, 1.0)
        trials = Trials(child, said["base_bytes"], None if gpus else most_bytes, deadline)
        trials.precision = choose_precision(trials, patches, said["precisions"])
        size = choose_size(trials, patches, wanted, divisors(cfg.batch))
        chosen = trials.find(size, trials.precision)
        request = {"patch_zyx": wanted, "batch": too_many, "precision": trials.precision}
        too_large = child.ask(request, deadline + budget_s).get("failed", "") if gpus else ""
        small = {"patch_zyx": patches[0], "batch": 1, "precision": trials.precision}
        goes_on = "seconds" in child.ask(small, deadline + budget_s)
    step_s, peak = (chosen.seconds, chosen.peak_bytes) if chosen is not None else (0.0, 0)
    name = gpus[0][0] if gpus else "CPU"
    return Fitted(
        name, size.patch_zyx, size.batch, trials.precision, step_s, peak / 1e9, len(trials.done), too_large, goes_on
    )
