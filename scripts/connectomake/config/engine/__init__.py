"""From presets, overrides and sweeps to the settings and ids of every variant."""
