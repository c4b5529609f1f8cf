"""The server: ledger, people, vending, gateway and API."""
