"""How good a generator is: its reconstructions, and what it makes beside real volumes that it has not learnt from."""
