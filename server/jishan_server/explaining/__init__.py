"""What the scheme's numbers are made of, what looks odd, and how much of everything there is: reading only."""
