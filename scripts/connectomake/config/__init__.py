"""Settings: one pydantic model for each stage, composed from preset files, overrides and sweeps.

``STAGES`` (stage name -> model) is loaded on first use, so that a stage script that needs one model imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectomake.config.stages import STAGES as STAGES


def __getattr__(name: str) -> Any:
    if name == "STAGES":
        from connectomake.config.stages import STAGES

        return STAGES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
