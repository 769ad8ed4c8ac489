"""Evaluation: a model on a split of a data set to predictions and a report, and two runs against each other."""
