"""Networks: registered architectures, built from settings, saved in files that need nothing else to be used."""

from connectomake.models.registry import (
    build_model,
    get_architecture_builder,
    list_architectures,
    print_available_architectures,
    register_architecture,
)

__all__ = [
    "build_model",
    "get_architecture_builder",
    "list_architectures",
    "print_available_architectures",
    "register_architecture",
]
