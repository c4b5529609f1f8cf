"""Residents, credentials and staff."""
