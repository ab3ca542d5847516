"""Loading a vision-language model and rendering its conversations, for training and evaluation alike."""

from __future__ import annotations

import logging

# On the CPU it says at every start which optional kernel it has not found; nothing hangs on that.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
