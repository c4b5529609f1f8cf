"""Drivers: a codec on a byte stream."""
