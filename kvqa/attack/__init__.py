"""Attacks as evaluation: how fast does accuracy fall when inputs change by a little, in the worst direction?"""
