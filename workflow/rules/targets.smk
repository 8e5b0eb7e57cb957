"""Targets beside `all`: what a user asks Snakemake for by name."""


rule demo:
    """The generated volumes of the chosen experiments, `phantom` among them, through every stage."""
    input:
        demo_page,
    localrule: True


rule segment:
    """The labels of every volume of the chosen experiments, and nothing that needs truth."""
    input:
        all_labels(),
    localrule: True


rule evaluate:
    """The numbers of the chosen experiments."""
    input:
        all_numbers(),
    localrule: True


rule synthesise:
    """New volumes of the experiments that make some (by default `synth_tiny`), their numbers and pictures."""
    input:
        [path for variant in SYNTHESES for path in synthesis_of(variant)],
    localrule: True


rule submit:
    """A checked zip for the challenge, and the score that it would get on the crops kept back."""
    input:
        submit_goal,
    localrule: True
