"""Scores of prediction files in the data sets' own layouts: no model, no network, no torch.

One file holds one data set or one protocol; `kvqa.scoring.datasets` lists them by name.
"""
