"""``evaluation/report.html``: what a person reads before a model goes out, in one file that needs no network."""
