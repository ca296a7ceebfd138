"""Data sets: one file each; facts, official checksums, a reader."""
