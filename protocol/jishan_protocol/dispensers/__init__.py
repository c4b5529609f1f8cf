"""Sans-IO codecs, one for each real dispenser protocol."""
