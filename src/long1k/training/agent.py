"""torchrun as this program starts it: ``python -m long1k.training.agent`` takes torchrun's arguments.

Polite signals are for the ranks, which save and then leave; torchrun would give them half a minute and
then kill them.  So it does not listen to those, and ends when its ranks have ended.
"""

from __future__ import annotations

import signal

from long1k.training.ranks import die_with_parent


def main() -> None:
    """Run torchrun, deaf to SIGINT and SIGTERM, and killed when the starter is killed."""
    die_with_parent()
    from torch.distributed.run import main as torchrun

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    torchrun()


if __name__ == "__main__":
    main()
