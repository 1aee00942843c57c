"""What exists, stage by stage, in the order of the paper: labels, statistics, models, probes, reports."""
