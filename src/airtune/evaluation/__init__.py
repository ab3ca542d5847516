"""How good a model is: generation, parsing, metrics, the report and the gate."""
