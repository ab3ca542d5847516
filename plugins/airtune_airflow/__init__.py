"""airtune's side of Airflow: operators, links, the API and the pages of the plugin."""
