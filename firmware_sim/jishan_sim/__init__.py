"""Machines without hardware."""
