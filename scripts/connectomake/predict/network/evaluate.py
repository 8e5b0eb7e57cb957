"""What is predicted of windows: by one network, or by several in the mean; with test-time augmentation or without."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from connectomake.config.settings.predict import TtaConfig
from connectomake.errors import ConnectomakeError, ModelError
from connectomake.models.device import choose_memory_format
from connectomake.precision.choose import choose_for_prediction
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.network.symmetries import OverSymmetries, list_symmetries

UNTIMED_CALLS = 64  # of the network on a GPU, at most, that were started and whose time was not read yet


class Predictor:
    """A network with what happens before and after it.

    Parameters
    ----------
    network
        Takes (N, C, Z, Y, X) float32, gives (N, channels, Z, Y, X) logits; in eval mode, on `device`. Its memory
        layout is changed to the one that suits it.
    recipe
        What happens before and after the network.
    device, dtype
        Where it runs, and the type that convolutions compute in there.
    compile
        Mode of torch.compile, or ``no``.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        compile: str = "no",
    ) -> None:
        self.recipe, self.device, self.dtype, self._compile = recipe, device, dtype, compile
        self.stopwatch = Stopwatch(device)
        self._memory_format = choose_memory_format(network)
        network = network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._network: Any = network if compile == "no" else compile_network(network, compile)
        everything = tuple(range(len(recipe.outputs)))
        self._picked = None if recipe.needed == everything else torch.tensor(recipe.needed, device=device)

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Predict windows.

        Parameters
        ----------
        windows
            (N, C, Z, Y, X) of any real type, raw values as stored.

        Returns
        -------
        Tensor
            (N, channels kept, Z, Y, X) float32, activated; the caller's own.

        Raises
        ------
        ModelError
            The network's output has another shape than it should.
        """
        normalised = windows.to(torch.float32, copy=True).sub_(self.recipe.mean).div_(self.recipe.std)
        normalised = normalised.contiguous(memory_format=self._memory_format)
        with self.stopwatch.running(), torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            logits = self._check(self._run(normalised), windows)
        if self._picked is not None:
            logits = logits.index_select(1, self._picked)
        # Never the network's own memory: some give their input back, and CUDA graphs reuse that of their output.
        fresh = self._picked is not None
        return self.recipe.apply(logits.to(torch.float32, copy=not fresh, memory_format=torch.contiguous_format))

    def _run(self, windows: torch.Tensor) -> Any:
        """Run the network, and say what to do where it cannot be compiled."""
        if self._compile == "no":
            return self._network(windows)
        from torch._dynamo.exc import BackendCompilerFailed
        from torch._inductor.exc import InductorError

        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._network(windows)
        except (BackendCompilerFailed, InductorError) as error:
            raise ConnectomakeError(
                f"torch.compile failed: {str(error).splitlines()[0]}",
                hint="set predict.compile: no, or install a C++ compiler (CPU) or Triton (GPU)",
            ) from error

    def _check(self, logits: Any, windows: torch.Tensor) -> torch.Tensor:
        """Reject an output that is no tensor of the windows' shape with all channels asked for."""
        given, channels = tuple(windows.shape), max(self.recipe.needed) + 1
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if isinstance(shape, str) or shape[2:] != given[2:] or shape[0] != given[0] or shape[1] < channels:
            expected = f"({given[0]}, at least {channels} channels, {', '.join(map(str, given[2:]))})"
            raise ModelError("the network's output does not fit its input", expected=expected, got=shape)
        return logits


class Ensemble:
    """All networks that predict together: the mean of their values, in float32, added in the order given.

    Parameters
    ----------
    members
        One network, or several whose recipes keep the same channels, activated alike; on one device.
    recipe
        By which their values are blended and stored; by default that of the first.
    over
        Test-time augmentation of each of them; none by default. They have to give the channels that it needs.
    """

    def __init__(
        self, members: Sequence[Predictor], recipe: Recipe | None = None, over: OverSymmetries | None = None
    ) -> None:
        self.members, self.over = tuple(members), over
        self.recipe, self.device = recipe or members[0].recipe, members[0].device

    @property
    def seconds(self) -> float:
        """The time that the networks took so far."""
        return sum(member.stopwatch.seconds for member in self.members)

    @property
    def dtypes(self) -> list[torch.dtype]:
        """The types that convolutions compute in, each once."""
        return list(dict.fromkeys(member.dtype for member in self.members))

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Predict windows; takes and gives what `Predictor` does."""
        total = self._ask(self.members[0], windows)
        for member in self.members[1:]:
            total += self._ask(member, windows)
        return total if len(self.members) == 1 else total.div_(len(self.members))

    def explain_nan(self) -> str:
        """Return what may have gone wrong where there is NaN."""
        if torch.float16 in self.dtypes:
            return "float16 overflows easily: use precision: bfloat16 or float32"
        return "the training may have diverged (see its loss), or the raw volume holds NaN"

    def _ask(self, member: Predictor, windows: torch.Tensor) -> torch.Tensor:
        return member(windows) if self.over is None else self.over(windows, member)


class Stopwatch:
    """Adds up how long a device works, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._is_gpu, self._seconds = device.type == "cuda", 0.0
        self._open: deque[tuple[Any, Any]] = deque()

    @property
    def seconds(self) -> float:
        """The time so far; waits for what was started."""
        self._read(0)
        return self._seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is started in the body."""
        if self._is_gpu:
            events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            events[0].record()
            yield
            events[1].record()
            self._open.append(events)
            self._read(UNTIMED_CALLS)
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def _read(self, left: int) -> None:
        """Read the time of all calls but the last ones."""
        while len(self._open) > left:
            first, last = self._open.popleft()
            last.synchronize()
            self._seconds += first.elapsed_time(last) / 1000


def compile_network(network: nn.Module, mode: str) -> Any:
    """Return a network that is compiled when it is first run; all windows have one shape, so once."""
    return torch.compile(network, mode=mode, dynamic=False)


def build_ensemble(
    networks: Sequence[nn.Module],
    recipes: Sequence[Recipe],
    *,
    device: torch.device,
    in_channels: int,
    window_zyx: Sequence[int],
    precision: str = "auto",
    compile: str = "no",
    tta: TtaConfig | None = None,
    edge_convention: str = "source",
) -> Ensemble:
    """Put networks and what happens around them together.

    Parameters
    ----------
    networks, recipes
        One each, or several.
    device
        Where the networks are.
    in_channels, window_zyx
        The windows that will be predicted.
    precision, compile
        See `choose_for_prediction` and `Predictor`.
    tta
        Test-time augmentation; none by default.
    edge_convention
        At which end of its edge an affinity is stored, for test-time augmentation.
    """
    over = None
    given = list(recipes)
    if tta is not None and tta.is_used:
        symmetries, first = list_symmetries(tta, window_zyx), recipes[0]
        over = OverSymmetries(first.outputs, symmetries, tta.merge, first.channels, edge_convention)
        given = [replace(recipe, channels=over.needed) for recipe in recipes]
    members = [
        Predictor(
            network,
            recipe,
            device=device,
            dtype=choose_for_prediction(precision, device, network, (1, in_channels, *window_zyx)),
            compile=compile,
        )
        for network, recipe in zip(networks, given, strict=True)
    ]
    return Ensemble(members, recipes[0], over)
