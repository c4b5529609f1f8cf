"""The program on each machine."""
