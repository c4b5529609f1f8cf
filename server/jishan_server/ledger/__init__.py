"""Accounts, transfers, holds and lots; knows no vending and no web."""
