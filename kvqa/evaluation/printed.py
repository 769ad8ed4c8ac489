"""Figures printed in papers, to be put beside our own. They are on the full data, so none is comparable one to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """What papers print for a data set.

    Attributes:
        columns: Heading of each column, and the name of our score that stands in it.
        rows: System to one figure in percent for each column, None where none is printed.
    """

    columns: Mapping[str, str]
    rows: Mapping[str, tuple[float | None, ...]]


REMARK = "printed, on the full data, not comparable one to one"

PRINTED: Mapping[str, Printed] = {
    "fvqa": Printed(
        {"answer top-1": "answer_top1", "answer top-3": "answer_top3"},
        {
            "FVQA (Wang et al. 2018)": (56.9, None),
            "STTF": (62.2, 75.6),
            "UnifER": (66.8, None),
            "Out of the Box": (69.4, 80.3),
            "Qwen2.5-VL-7B": (71.6, None),
            "GPT-4o": (72.4, None),
            "Mucko": (73.06, 85.94),
            "people": (78.0, None),
        },
    ),
    "okvqa": Printed(
        {"VQA accuracy": "overall"},
        {
            "question only": (14.9,),
            "BAN + KG": (26.7,),
            "MUTAN + AN": (27.8,),
            "Mucko": (29.2,),
            "KRISP without VQA pretraining": (32.3,),
            "ConceptBERT": (33.7,),
            "KRISP": (38.9,),
            "MAVEx": (41.4,),
            "PICa, its lowest setting": (43.3,),
            "PICa, its highest setting": (48.0,),
            "KAT": (54.4,),
            "RA-VQA": (54.5,),
            "REVIVE": (58.0,),
            "Prophet": (61.1,),
        },
    ),
    "daquar": Printed(
        {"accuracy, all classes": "accuracy"},
        {
            "Multi-World": (7.9,),
            "Neural-Image-QA": (19.4,),
            "2-CNN": (23.4,),
            "DPPnet": (29.0,),
            "stacked attention": (29.3,),
            "people": (50.2,),
        },
    ),
    "nlvr2": Printed(
        {"accuracy": "accuracy"},
        {
            "LXMERT, dev": (74.95,),
            "LXMERT, test-P": (74.45,),
            "METER, dev": (82.33,),
            "METER, test-P": (83.05,),
        },
    ),
    "snli_ve": Printed({"accuracy": "accuracy"}, {"METER, dev": (80.86,), "METER, test": (81.19,)}),
    "vcr": Printed(
        {"Q→A": "q_a", "QA→R": "qa_r", "Q→AR": "q_ar"},
        {"R2C": (65.1, 67.3, 44.0), "VILLA-large": (78.9, 82.8, 65.7)},
    ),
    "aokvqa": Printed(
        {"multiple choice": "multiple_choice", "direct answer": "direct_answer"}, {"LXMERT": (41.6, 25.9)}
    ),
}
"""Data set to printed figures."""
