"""Say in a few lines what a run is made of: the variants of each experiment, what they share, and what is new.

A stage's result is told by the chain of its ids, so counting chains tells what is computed once for many variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from connectomake.config.engine.variant import Variant

STAGES_SHOWN = ("data", "train", "predict", "decode", "measure", "submit", "synth")
MOST_NAMES = 6

Chains = dict[str, dict[str, bool]]
"""Stage -> chain of ids -> whether its result is there."""


def list_variants(variants: Iterable[Variant], is_there: Callable[[str, Variant], bool | None]) -> list[str]:
    """Describe every experiment of a run.

    Parameters
    ----------
    variants
        Those of one experiment after another.
    is_there
        Tells of a stage and a variant whether the result lies on the disk; None where the variant does not go through
        the stage. Called once for each chain of ids.

    Returns
    -------
    list of str
        Two to five lines for each experiment: how many variants, over which keys; of each stage how many different
        results there are; what is shared with experiments above; which variants are new. A result that is there may
        still be made again because its inputs have changed: only Snakemake knows that.
    """
    lines: list[str] = []
    known: dict[str, Chains] = {}
    for experiment, group in groupby(variants, key=lambda variant: variant.experiment):
        own = list(group)
        chains = _find_chains(own, is_there)
        lines += _describe(experiment, own, chains)
        lines += [f"  shared with {other}: {said}" for other in known if (said := _count_shared(chains, known[other]))]
        known[experiment] = chains
    return lines


def _find_chains(variants: Sequence[Variant], is_there: Callable[[str, Variant], bool | None]) -> Chains:
    chains: Chains = {}
    for stage in STAGES_SHOWN:
        asked: dict[str, bool | None] = {}
        for variant in (v for v in variants if stage in v.ids):
            chain = variant.chain(stage)
            if chain not in asked:
                asked[chain] = is_there(stage, variant)
        found = {chain: there for chain, there in asked.items() if there is not None}
        if found:
            chains[stage] = found
    return chains


def _describe(experiment: str, variants: Sequence[Variant], chains: Chains) -> list[str]:
    named = {True: list[str](), False: list[str]()}
    for variant in variants:
        ends = (found.get(variant.chain(stage), True) for stage, found in chains.items())
        named[all(ends)].append(variant.name)
    n_done, n_new = len(named[True]), len(named[False])
    stages = ", ".join(
        f"{stage} {len(found)}" + (f" ({there} done)" if (there := sum(found.values())) else "")
        for stage, found in chains.items()
    )
    over = f" over {', '.join(variants[0].point)}" if variants[0].point else ""
    plural = "s" * (len(variants) > 1)
    lines = [f"{experiment}: {len(variants)} variant{plural}{over}: {n_done} done, {n_new} new", f"  {stages}"]
    if n_done and n_new:
        lines += [f"  {word}: {_join(named[key])}" for word, key in (("done", True), ("new", False))]
    return lines


def _count_shared(chains: Chains, others: Mapping[str, Mapping[str, bool]]) -> str:
    counts = {stage: len(found.keys() & others.get(stage, {}).keys()) for stage, found in chains.items()}
    return ", ".join(f"{stage} {count}" for stage, count in counts.items() if count)


def _join(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return " | ".join(names[:MOST_NAMES]) + (f" | and {more} more" if more > 0 else "")
