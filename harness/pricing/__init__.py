"""What units cost, how long so many workers take for all of them, and how much a run may use."""
