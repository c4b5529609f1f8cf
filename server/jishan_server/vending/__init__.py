"""Machines, planograms, stock and redemptions."""
