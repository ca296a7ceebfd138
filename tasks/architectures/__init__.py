"""Architectures: builders that name their stem, blocks and head."""
