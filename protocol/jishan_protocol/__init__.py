"""What two Jishan programs say to each other: pure, no I/O, no clock."""
