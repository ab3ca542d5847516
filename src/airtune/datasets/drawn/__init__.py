"""Pictures that are drawn here, to try airtune and to teach the tiny base model."""
