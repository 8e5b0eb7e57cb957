"""What all trainings share: trainer, states, history, processes, time limit."""
