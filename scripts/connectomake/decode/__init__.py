"""Turn affinities into instances: decoders by name, and the steps that they are made of.

What it offers is loaded when it is asked for, since settings read the decoders' files, and need no array for that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectomake.decode.components.components import affinity_cc3d
    from connectomake.decode.filling.watershed import fill_by_watershed
    from connectomake.decode.registry import decode, get_decoder, list_decoders, register_decoder
    from connectomake.decode.semantic_classes import split_panoptic

__all__ = [
    "affinity_cc3d",
    "decode",
    "fill_by_watershed",
    "get_decoder",
    "list_decoders",
    "register_decoder",
    "split_panoptic",
]

_PLACES = {
    "affinity_cc3d": "components.components",
    "fill_by_watershed": "filling.watershed",
    "split_panoptic": "semantic_classes",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'registry')}"), name)
