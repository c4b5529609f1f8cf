"""Estates and the tree they stand in."""
