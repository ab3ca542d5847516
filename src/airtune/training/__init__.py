"""How a model learns: labels, collation, the trainer, its callbacks and checkpoints.

Read :mod:`airtune.training.__main__` first: it is the algorithm, from top to bottom.
"""
