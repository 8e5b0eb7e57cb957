"""Turn affinities into instances: decoders by name, and the steps that they are made of."""

from connectomake.decode.components.components import affinity_cc3d
from connectomake.decode.decoders.semantic import split_panoptic
from connectomake.decode.filling.watershed import fill_by_watershed
from connectomake.decode.registry import decode, get_decoder, list_decoders, register_decoder

__all__ = [
    "affinity_cc3d",
    "decode",
    "fill_by_watershed",
    "get_decoder",
    "list_decoders",
    "register_decoder",
    "split_panoptic",
]
