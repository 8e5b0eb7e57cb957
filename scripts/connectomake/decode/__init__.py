"""Turn affinities into instances: decoders by name, and the steps that they are made of."""

from connectomake.decode.affinity_cc import decode_affinity_cc
from connectomake.decode.components import affinity_cc3d
from connectomake.decode.registry import decode, get_decoder, list_decoders, register_decoder
from connectomake.decode.watershed import fill_by_watershed

__all__ = [
    "affinity_cc3d",
    "decode",
    "decode_affinity_cc",
    "fill_by_watershed",
    "get_decoder",
    "list_decoders",
    "register_decoder",
]
