"""What the study found: correlations, rankings, figures and the page (section 5 of the paper)."""
