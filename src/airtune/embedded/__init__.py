"""airtune on one machine: the S3 server, Airflow, and the client that talks to it."""
