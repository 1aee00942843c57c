"""What is run, and when: studies in, Dagster definitions out, and the command line."""
