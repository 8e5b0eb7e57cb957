"""Targets beside `all`: what a user asks Snakemake for by name."""


rule demo:
    """The generated volumes of the chosen experiments, `phantom` among them, through every stage."""
    input:
        GOALS.page,
    localrule: True


rule segment:
    """The labels of every volume of the chosen experiments, and nothing that needs truth."""
    input:
        GOALS.labels(),
    localrule: True


rule evaluate:
    """The numbers of the chosen experiments."""
    input:
        GOALS.tables(),
    localrule: True


rule synthesise:
    """New volumes of the experiments that make some (by default `synth_tiny`), their numbers and pictures."""
    input:
        SYNTHESIS.goal(),
    localrule: True


rule submit:
    """A checked zip for the challenge, and the score that it would get on the crops kept back."""
    input:
        lambda wildcards: CHALLENGE.goal(),
    localrule: True
