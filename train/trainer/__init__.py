"""Training: the loop, its state and schedule, optimisers, distillation, checkpoints, loggers."""
