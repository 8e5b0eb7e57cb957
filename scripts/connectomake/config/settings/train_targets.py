"""Settings of what a network learns to predict: one section for each target.

A section also names the target's channels, and in `decoders` the decoders that can read them; it stands in the file of
the target in `connectomake.targets.kinds`. What the values are, and which of them are known, stands in the module that
computes them, in `connectomake.targets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, create_model, model_validator

from connectomake.channels import Channel
from connectomake.config.registries import TARGETS
from connectomake.config.section import Section
from connectomake.config.settings.train_target_kinds import ClassesConfig, TargetConfig, TargetKind


def _field(kind: TargetKind) -> Any:
    if kind.by_default:
        return Field(default_factory=kind.settings, description=kind.description)
    return Field(None, description=kind.description)


if TYPE_CHECKING:

    class _Targets(Section):
        classes: ClassesConfig | None = None

else:
    _Targets = create_model(
        "_Targets",
        __base__=Section,
        **{name: (kind.settings | None, _field(kind)) for name, kind in TARGETS.items()},
    )


class TargetsConfig(_Targets):
    """What the network predicts: the channels of all targets that are not null, in the order of these keys."""

    def section(self, name: str) -> TargetConfig | None:
        """Return the settings of one of `TARGETS`; None where it is not learnt."""
        found: TargetConfig | None = getattr(self, name)
        return found

    @property
    def names(self) -> list[str]:
        """The targets that there are, in order."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @property
    def channels(self) -> list[Channel]:
        """The channels of the network's output; their number is the network's `out_channels`."""
        return [channel for name in self.names for channel in getattr(self, name).channels]

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Reject a network that predicts nothing, and two channels of one name."""
        names = [channel.name for channel in self.channels]
        if not names:
            raise ValueError("there is no target: a network has to predict something")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two channels are called {twice[0]!r}: give the class another name")
        return self
