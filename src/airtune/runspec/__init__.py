"""What a run is: the run.json's schema, reading and writing it, defaults and advice."""
