"""Training: targets, objectives and recipes; nothing here is needed to answer."""
