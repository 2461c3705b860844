"""What the commands mean: synchronous functions over the models, each run in one transaction."""
