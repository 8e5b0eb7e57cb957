"""Losses on logits, in which what is masked counts nothing."""

from connectomake.losses.registry import LOSSES, Losses

__all__ = ["LOSSES", "Losses"]
