"""airtune retrains vision-language models on your own Airflow, GPUs and S3 from one run.json."""

__version__ = "0.1.0"
