"""Scenarios: how the forget set is drawn."""
