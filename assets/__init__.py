"""What exists, stage by stage, in the order of the paper: labels, statistics, models, probes, reports."""

import os

# Threads that wait by spinning take the processor from the thread they wait for wherever anything else runs: measured
# beside two other busy processes on two cores, a training that takes ten seconds took minutes. Libraries read this when
# they are first loaded, so it stands before all of them; whoever has set it otherwise keeps that.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
