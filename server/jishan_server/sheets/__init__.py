"""Sheets that people send and take away: CSV and workbooks, in and out. A leaf: it knows nothing of the scheme."""
