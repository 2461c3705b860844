"""The fleet: what should run (`plan`), who makes it run (`fleet`), and where (`local`, `ec2`)."""
