"""MQTT to use cases, in batches."""
