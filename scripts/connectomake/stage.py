"""The seam between Snakemake, the command line and a stage's typed `main`.

A stage script ends in `run(main)`. Inside a Snakemake job the job's named inputs, outputs, params and threads become
the arguments of `main`; by hand the same signature becomes command line flags. Either way the log is opened, an error
that the user can act on is shown as one line, and what was run is written down beside the first output. A stage that is
asked to stop (SIGTERM, SIGUSR1) ends with one line and status 75.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import random
import signal
import sys
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from connectomake.config.engine.explain import Layer, explain
from connectomake.errors import ConfigError, ConnectomakeError
from connectomake.files import read_json
from connectomake.gpus import take_gpus
from connectomake.kernels import use_kernel_cache
from connectomake.log import setup_logging
from connectomake.provenance import write_provenance

log = logging.getLogger(__name__)

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """Somebody asked this process to stop. What is half done is cleaned up on the way out."""


@dataclass(frozen=True)
class Call:
    """One call of a stage: its name (that of the rule, in a job), its arguments, where it logs, and what it writes."""

    stage: str
    arguments: dict[str, Any]
    outputs: list[Path] = field(default_factory=list)
    log_file: Path | None = None


def run(main: Callable[..., int | None]) -> None:
    """Call a stage's `main` from a Snakemake job or from the command line, whichever started this process.

    Parameters
    ----------
    main
        A function of annotated parameters: `Path`, `Path | None`, `list[Path]`, `int`, `float`, `str`, `bool`, or a
        pydantic model for the settings. Keyword-only ones are given by flags, those before the `*` without. What it
        returns is the exit status; None is 0.

    Raises
    ------
    SystemExit
        With the status that `main` returned, where it is not 0; with status 1 after an error (one line on stderr, a
        traceback in the log only where the error is ours); with status 75 where it was asked to stop (SIGTERM, as a
        scheduler sends it before it kills, or SIGUSR1): the same call goes on with what is left.
    """
    # GNU OpenMP's threads spin for long while they wait for each other: with one other busy program on two cores a step
    # of training took 4.9 s, with this count 0.9 s, and 0.3 s either way on idle cores. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    use_kernel_cache()
    job = vars(sys.modules["__main__"]).get("snakemake")
    try:
        call = bind_job(main, job) if job is not None else bind_flags(main, sys.argv[1:])
        setup_logging(call.log_file)
    except ConnectomakeError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
    if job is not None:
        take_gpus(job.resources.get("gpu", 0))
    _execute(main, call)


def bind_job(main: Callable[..., int | None], job: Any) -> Call:
    """Match a Snakemake job's named values to the parameters of `main`.

    Parameters
    ----------
    main
        The stage's function.
    job
        The `snakemake` object of a `script:` job.

    Raises
    ------
    ConfigError
        When a parameter without a default has no value in the rule, or settings do not fit their model.
    """
    values: dict[str, Any] = {"threads": job.threads}
    for names in (job.params, job.output, job.input):
        values.update(names.items())
    outputs = [Path(p) for p in job.output]
    log_file = Path(job.log[0]) if job.log else None
    stage = f"rule {job.rule}"
    return Call(job.rule, _convert_all(main, values, stage), outputs, log_file)


def bind_flags(main: Callable[..., int | None], argv: Sequence[str]) -> Call:
    """Build `--flags` from the signature of `main` and parse the command line with them.

    A parameter before the `*` of the signature has no flag: it is given alone, as in `check_submission.py X.zip`.
    `--config FILE` reads the settings of the parameter `cfg` (a preset or any YAML mapping), `--set key=value` changes
    one key of it; another parameter that takes settings has a flag of its own name, and `--set NAME.key=value`.
    `--like provenance/X.json` takes every argument that is not given from the record of an earlier run.

    Raises
    ------
    ConfigError
        Settings do not fit their model; or the record is of another stage, names an argument that `main` does not
        have, or lacks one that it needs and that is not given either.
    """
    stage = Path(inspect.getfile(main)).stem
    given = vars(_build_parser(main, stage, is_like=_asks_for_like(argv)).parse_args(argv))
    changes, log_file, record, like = (given.pop(name) for name in ("changes", "log", "record", "like"))
    if int(os.environ.get("RANK", 0)):  # of several processes that torchrun started, the first writes
        log_file = record = None
    if like is not None:
        given = _read_record(like, main, {name: value for name, value in given.items() if value is not None})
    arguments = _convert_all(main, _apply_settings(main, given, changes), stage)
    return Call(stage, arguments, [record] if record else [], log_file)


def _execute(main: Callable[..., int | None], call: Call) -> None:
    random.seed(_seed_of(call.arguments))
    started = time.time()
    try:
        with _stopped_by_signals():
            status = main(**call.arguments)
            write_provenance(call.stage, call.arguments, call.outputs, started, script=_script_of(main))
    except Stopped as stop:
        log.warning("%s: stopped by %s; the same command goes on with what is left", call.stage, stop)
        sys.exit(TRY_AGAIN)
    except ConnectomakeError as error:
        log.debug("traceback:", exc_info=True)
        log.error("%s: %s", call.stage, error)
        sys.exit(1)
    except Exception as error:
        _log_traceback(call, error)
        sys.exit(1)
    if status:
        sys.exit(status)


def _script_of(main: Callable[..., int | None]) -> str:
    """Return the name of a stage script; Snakemake runs a copy, tmpXYZ.name.py."""
    return Path(inspect.getfile(main)).stem.rpartition(".")[2]


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a signal raise `Stopped` in the body, once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for other in SIGNALS:  # a scheduler may send several, which must not break off the cleaning up
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_traceback(call: Call, error: Exception) -> None:
    """Put the traceback into the log file, and a line that points to it on the screen."""
    text = "".join(traceback.format_exception(error))
    if call.log_file is None:
        log.error("%s stopped on an error of its own:\n%s", call.stage, text)
        return
    with call.log_file.open("a", encoding="utf-8") as file:
        file.write(text)
    log.error("%s: %s: %s; the traceback is in %s", call.stage, type(error).__name__, error, call.log_file)


def _convert_all(main: Callable[..., int | None], values: Mapping[str, Any], stage: str) -> dict[str, Any]:
    hints = typing.get_type_hints(main)
    arguments = {}
    for name, parameter in inspect.signature(main).parameters.items():
        if name in values:
            arguments[name] = _convert(values[name], hints[name], f"{stage}: {name}")
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{stage} gives no value for '{name}'", expected=hints[name], got=sorted(values))
    return arguments


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Turn a plain value (a string, a dict, a list) into what the annotation asks for."""
    model = _model_of(hint)
    if model is not None and isinstance(value, Mapping):
        try:
            return model.model_validate(dict(value))
        except ValidationError as error:
            raise explain(error, model, [Layer(where, value)]) from None
    if typing.get_origin(hint) is list:
        items = [value] if isinstance(value, str | Path) else list(value)
        return [_convert(item, typing.get_args(hint)[0], where) for item in items]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, Sequence) and len(value) == 0):
            return None
        return _convert(value, _without_none(hint), where)
    if hint is Path:
        return Path(value)
    return int(value) if hint is int else value  # a wildcard is text


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0]


def _model_of(hint: Any) -> type[BaseModel] | None:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = _without_none(hint)
    return hint if isinstance(hint, type) and issubclass(hint, BaseModel) else None


def _build_parser(main: Callable[..., int | None], stage: str, *, is_like: bool) -> argparse.ArgumentParser:
    """Return the parser of a stage's command line; with `is_like` nothing is required, and nothing has a default."""
    parser = argparse.ArgumentParser(
        prog=stage,
        description=sys.modules[main.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(main)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            _add_flag(parser, name, hints[name], None if is_like else parameter.default)
        else:
            parser.add_argument(name, type=hints[name], metavar=name.upper(), nargs="?" if is_like else None)
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    parser.add_argument(
        "--like", type=Path, metavar="RECORD", help="run as provenance/*.json says, but for the arguments given here"
    )
    parser.add_argument("--log", type=Path, help="file that the log is also written to")
    parser.add_argument("--record", type=Path, metavar="OUTPUT", help="output beside which is written what was run")
    return parser


def _asks_for_like(argv: Sequence[str]) -> bool:
    """Return whether a command line holds `--like`, which may be shortened as all flags may be."""
    flags = {word.partition("=")[0] for word in argv}
    return any(flag.startswith("--l") and "--like".startswith(flag) for flag in flags)


def _add_flag(parser: argparse.ArgumentParser, name: str, hint: Any, default: Any) -> None:
    flag = _flag_of(name)
    required = default is inspect.Parameter.empty
    options: dict[str, Any] = {"dest": name, "default": None if required else default}
    if _model_of(hint) is not None:
        parser.add_argument(flag, type=Path, metavar="FILE", help="YAML file of settings", **options)
    elif hint is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, required=required, **options)
    elif typing.get_origin(hint) is list:
        parser.add_argument(flag, type=typing.get_args(hint)[0], nargs="+", required=required, **options)
    else:
        kind = _without_none(hint) if typing.get_args(hint) else hint
        parser.add_argument(flag, type=kind, required=required, metavar=kind.__name__.upper(), **options)


def _flag_of(name: str) -> str:
    return "--config" if name == "cfg" else "--" + name.replace("_", "-")


def _read_record(like: Path, main: Callable[..., int | None], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments: those that are given, else those of an earlier run's record, else the defaults."""
    parameters, hints = inspect.signature(main).parameters, typing.get_type_hints(main)
    record = _open_record(like, Path(inspect.getfile(main)).stem)
    for name in record["arguments"]:
        if name not in parameters:
            hint = f"check out the commit that made it ({record.get('commit')}), or take the argument out of the file"
            raise ConfigError(f"{like}: there is no argument {name!r} any more", expected=[*parameters], hint=hint)
    defaults = {name: None for name in parameters if _model_of(hints[name]) is not None}  # settings have their own
    defaults |= {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    found = {**defaults, **record["arguments"], **given}
    for name, parameter in parameters.items():
        if name not in found:
            flag = _flag_of(name) if parameter.kind is parameter.KEYWORD_ONLY else name.upper()
            raise ConfigError(f"{like}: it has no {name!r}, which must be there", hint=f"give {flag} too")
    return {name: found[name] for name in parameters}  # in this order: --set is meant for the first settings


def _open_record(like: Path, stage: str) -> dict[str, Any]:
    """Read a file that `write_provenance` wrote for a stage script of a name."""
    try:
        record = read_json(like)
    except ConnectomakeError:
        raise
    except OSError as error:
        raise ConfigError(f"{like} cannot be read ({error.strerror})") from error
    if not isinstance(record, dict) or not isinstance(record.get("arguments"), dict):
        raise ConfigError(f"{like} does not say what was run", hint="give a file of a folder provenance/")
    if stage not in (record.get("stage"), record.get("script")):  # a rule may have another name than its script
        raise ConfigError(f"{like} is of another stage", expected=stage, got=record.get("stage"))
    return record


def _apply_settings(
    main: Callable[..., int | None], given: Mapping[str, Any], changes: Sequence[str]
) -> dict[str, Any]:
    """Return arguments with files of settings read, and single keys of settings changed."""
    hints, parameters = typing.get_type_hints(main), inspect.signature(main).parameters
    settings = [name for name in given if _model_of(hints[name]) is not None]
    found = dict(given) | {name: _read_settings(given[name]) for name in settings}
    for change in changes:
        _apply_change(found, settings, change)
    left_out = [name for name in settings if given[name] is None and not found[name]]
    return found | {name: None for name in left_out if parameters[name].default is None}


def _read_settings(file: Any) -> dict[str, Any]:
    if file is None:
        return {}
    if isinstance(file, BaseModel):
        return file.model_dump()
    if isinstance(file, Mapping):  # of a record
        return dict(file)
    if not Path(file).is_file():
        raise ConfigError(f"no settings file {file}")
    from connectomake.config.engine.layers import read_preset  # the config package is only needed by hand

    return read_preset(Path(file))


def _apply_change(given: dict[str, Any], settings: Sequence[str], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator:
        raise ConfigError(f"--set {change}", expected="key=value")
    *path, last = key.split(".")
    target = given[path.pop(0)] if path and path[0] in settings else given[settings[0] if settings else "cfg"]
    for part in path:
        target = target.setdefault(part, {})
    target[last] = yaml.safe_load(text)


def _seed_of(arguments: Mapping[str, Any]) -> int:
    seed = arguments.get("seed", getattr(arguments.get("cfg"), "seed", 0))
    return int(seed)
