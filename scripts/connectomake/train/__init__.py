"""Train a network on labelled volumes, so that it can be interrupted at any step and comes out the same."""
