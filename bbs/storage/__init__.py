"""The database: its threads, its transactions, the framework's own tables and their versions."""
