"""`jishan-server`, also as `python -m jishan_server`.

The collector of unreachable objects sleeps while the modules are made, which leave nothing to collect, and never looks
at them again: a quarter of the start of every command.
"""

import gc

gc.disable()
from jishan_server.cli import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
