"""Check what Snakemake passes over in silence in a profile: mappings it does not know, and rules that there are not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from connectomake.config.engine.explain import nearest
from connectomake.config.engine.yaml_files import line_of, read_yaml
from connectomake.errors import ConfigError

# The keys of a profile that hold a mapping (Snakemake 9); any other that holds one is left out without a word.
MAPPINGS = (
    "batch",
    "config",
    "consider-ancient",
    "default-resources",
    "group-components",
    "groups",
    "resources",
    "set-resource-scopes",
    "set-resources",
    "set-scatter",
    "set-threads",
)


def check_profile(file: Path) -> None:
    """Reject a mapping in a profile that Snakemake would leave out.

    Parameters
    ----------
    file
        The profile's YAML file. Keys that hold no mapping are options, which Snakemake itself checks.

    Raises
    ------
    ConfigError
        Names the line and the nearest key.
    """
    for key, value in read_yaml(file, str(file)).items():
        if isinstance(value, dict) and key not in MAPPINGS and not key.startswith(("?", "__")):  # YTE's templates
            raise ConfigError(f"{file}:{line_of(file, [key])}: Snakemake knows no {key!r}", hint=nearest(key, MAPPINGS))


def check_rule_names(named: Iterable[str], rules: Collection[str]) -> None:
    """Reject threads or resources that are set for a rule that there is not.

    Parameters
    ----------
    named
        The rules that `set-threads` and `set-resources` name.
    rules
        The rules that there are.

    Raises
    ------
    ConfigError
        Names the rule and the nearest one.
    """
    for name in named:
        if name not in rules:
            raise ConfigError(f"set-threads, set-resources: there is no rule {name!r}", hint=nearest(name, rules))
