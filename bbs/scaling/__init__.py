"""The fleet: what should run (`plan`), who makes it run (`keeper`), and where (`local`, `ec2`)."""
