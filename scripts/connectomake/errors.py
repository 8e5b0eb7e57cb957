"""Say what went wrong, where, what was expected, what was found, and what to do next."""

from __future__ import annotations


class ConnectomakeError(Exception):
    """Any failure that the user can act on; shown as its message alone, without a traceback.

    Parameters
    ----------
    message
        What is wrong, with the file, key or block where it is wrong.
    expected, got
        What was required and what was found, when there is such a pair.
    hint
        What to do next.
    """

    def __init__(self, message: str, *, expected: object = None, got: object = None, hint: str = "") -> None:
        parts = [message.rstrip(".")]
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}")
        if hint:
            parts.append(hint.rstrip("."))
        super().__init__("; ".join(parts))


class ConfigError(ConnectomakeError, ValueError):
    """A config file, preset, override or sweep cannot mean what it says."""


class DataError(ConnectomakeError, ValueError):
    """An input volume, label volume or skeleton cannot be used."""


class MissingDataError(DataError, FileNotFoundError):
    """An input file, or a dataset inside one, does not exist."""

    def __str__(self) -> str:  # FileNotFoundError (an OSError) would otherwise print its errno form
        return str(self.args[0])


class ResumeMismatchError(ConnectomakeError, RuntimeError):
    """Results on disk were made with other settings than those of this run."""


class ModelError(ConnectomakeError, ValueError):
    """A checkpoint or an architecture does not fit what is asked of it."""


class MissingPackageError(ConnectomakeError, ImportError):
    """An optional package is needed for what was asked and is not installed."""
