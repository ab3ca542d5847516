"""What ``train_vs_trl.py`` compares: the same model and samples, trained by airtune, by TRL and by a plain loop."""
