"""App servers on EC2."""
