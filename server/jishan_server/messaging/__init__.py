"""How messages leave: adapters for e-mail, a signed webhook, text messages and WeChat, and the thread that sends."""
