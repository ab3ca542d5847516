"""Vision features kept on disk, across epochs and runs: whose they are, their files, their room, filling, sharing."""
