"""Volunteer work that becomes points."""
