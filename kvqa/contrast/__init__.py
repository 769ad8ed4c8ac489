"""Contrast sets (Gardner et al. 2020, arXiv 2004.02709): small edits of a sentence that may change its label.

A label is derived only where logic alone forces it; where a person would have to look at the picture again, the variant
says so. A wrong label would be worse than none, so the rules know few kinds of sentences and give up early.
"""
