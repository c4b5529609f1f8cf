"""The cabinet speaking a real dispenser's protocol."""
