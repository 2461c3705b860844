"""The fleet: the controller observes it, plans and carries out, on a provider."""
