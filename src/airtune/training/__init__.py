"""How a model learns: labels, collation, the trainer, its callbacks and checkpoints."""
