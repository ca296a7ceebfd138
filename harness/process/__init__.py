"""Processes and signals: a driver that is told to stop, or whose methods end it, stops or goes on as it should.

Knows nothing of studies, stores and units but their ids.
"""
