"""The training engine, pure torch: data lives on the device, one pass evaluates all, the loop never waits."""
