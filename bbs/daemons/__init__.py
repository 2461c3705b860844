"""How servers start and stop, and what each of them is composed of."""
