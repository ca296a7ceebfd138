"""What is run: data sets, scenarios, architectures, methods and suites."""
