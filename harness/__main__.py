"""`python -m harness`: the command line where no script is installed, as in a job of a cluster."""

from harness.cli import main

main()
