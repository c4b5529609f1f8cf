"""The machine's own screen and voice: a page for the person who stands there, served on the machine itself.

`screen` and `phrases` decide, without a clock or a wire; `voice` finds or makes the sounds; `booth` joins them to the
agent's loop; `page` serves them. Without the server and without the network all of it still works.
"""
