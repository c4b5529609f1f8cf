"""JSON over HTTP: translate, call one use case, answer."""
