"""Find, before it is sent, everything for which the challenge refuses a submission or scores nothing."""
