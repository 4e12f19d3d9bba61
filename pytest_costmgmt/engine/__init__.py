"""The engine of the suite: declarations, evidence, outcomes, the verdict and its reports."""
