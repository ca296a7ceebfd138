"""Studies that ship with the harness."""
