"""What exists, stage by stage, in the order of the paper: labels, statistics, models, probes, reports."""

import os

# Threads that wait by spinning take the processor from the very thread they wait for as soon as anything else runs:
# beside two busy processes on two cores, a training of four seconds took minutes. After so many turns (some
# microseconds) they sleep, which costs nothing on a quiet machine. Libraries read this when they are first loaded;
# whoever has set it otherwise keeps that.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
