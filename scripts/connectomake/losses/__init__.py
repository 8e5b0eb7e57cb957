"""Losses on logits, in which what is unknown counts nothing."""

from connectomake.losses.registry import LOSSES, create_loss
from connectomake.losses.total import Losses

__all__ = ["LOSSES", "Losses", "create_loss"]
