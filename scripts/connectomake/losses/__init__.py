"""Losses on logits, in which what is unknown counts nothing.

What computes is loaded on first use: the settings of losses stand in their files, and are read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectomake.losses.registry import create_loss as create_loss
    from connectomake.losses.total import Losses as Losses

__all__ = ["Losses", "create_loss"]


def __getattr__(name: str) -> Any:
    if name == "create_loss":
        from connectomake.losses.registry import create_loss

        return create_loss
    if name == "Losses":
        from connectomake.losses.total import Losses

        return Losses
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
