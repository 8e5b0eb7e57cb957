"""Turn affinities into instances: decoders by name, and the steps that they are made of."""

from connectomake.decode.affinity_cc import decode_affinity_cc
from connectomake.decode.agglomeration import decode_waterz
from connectomake.decode.components import affinity_cc3d
from connectomake.decode.flow import decode_flow
from connectomake.decode.mutex_watershed import decode_mutex_watershed
from connectomake.decode.registry import decode, get_decoder, list_decoders, register_decoder
from connectomake.decode.seeded_watershed import decode_seeded_watershed
from connectomake.decode.semantic import decode_semantic, split_panoptic
from connectomake.decode.watershed import fill_by_watershed

__all__ = [
    "affinity_cc3d",
    "decode",
    "decode_affinity_cc",
    "decode_flow",
    "decode_mutex_watershed",
    "decode_seeded_watershed",
    "decode_semantic",
    "decode_waterz",
    "fill_by_watershed",
    "get_decoder",
    "list_decoders",
    "register_decoder",
    "split_panoptic",
]
