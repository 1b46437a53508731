"""Measures: what each column of the leaderboard's page says, in one plain sentence."""

MEASURES = {
    "rank": "The place on the board, by RA for a defense and by the damage left for an attack; a "
            "control is what others are compared with and has no rank, and an incomplete row lacks "
            "some cells of the grid.",
    "model": "The counter that was attacked.",
    "defense": "What was done against the backdoor; 'none' is the attacked counter as it is.",
    "attack": "The trigger, which changes the image, and the target, which says what the attacker "
              "wants to be counted.",
    "entry": "The name under which somebody entered this row; / for the rows of the benchmark.",
    "tier": "How far the numbers of an entry were checked by others; the notes below say how.",
    "knows": "The clean training images + clean validation images that the defense was given; E "
             "counts extra images of another dataset, and P is the poisoned training set.",
    "RA": "Robust accuracy, the share of images with the trigger that are counted to within 10% of "
          "the truth; more is better for the defender.",
    "rho_Acc": "The share of clean images that are counted to within 10% of the truth; more is "
               "better.",
    "flip rate": "The share of images that the trigger moves into the attacker's success; less is "
                 "better for the defender.",
    "chance flips": "The flip rate of a clean counter with the same trigger and the same defense; "
                    "only flips beyond it are the backdoor's.",
    "rho_Asr": "The share of images with the trigger whose count is off by more than 10% in the "
               "attacker's direction; less is better for the defender.",
    "Opp": "The share of images with the trigger whose count is off by more than 10% in the "
           "direction that the attacker does not want.",
    "base": "The share of clean images whose count is off by more than 10% in the attacker's "
            "direction although there is no trigger.",
    "ASR0": "The chance level of rho_Asr: the same share for a clean counter that was never "
            "attacked.",
    "eASR": "rho_Asr beyond chance, as a share of what chance leaves: (rho_Asr - ASR0) / "
            "(1 - ASR0); less is better for the defender.",
    "attainment": "The median share of the wanted change in the count that the trigger achieves; 1 "
                  "is the attacker's aim, and 0 is no effect.",
    "MAE": "The mean absolute error on clean images, in people; less is better.",
    "RMSE": "The root of the mean squared error on clean images, in people, to which large errors "
            "contribute more; less is better.",
    "DER": "Defense effectiveness, which sets the drop in eASR against the loss of rho_Acc; 0.5 is "
           "no effect, and more is better for the defender.",
    "seconds": "The duration of the repair on the machines of the records.",
    "cells": "The cells of the grid that were run / all of them; a cell is one counter, attack and "
             "seed.",
    "seeds": "The number of counters that were trained from different seeds; the numbers are means "
             "over them.",
    "images": "The number of test images that were counted with each seed.",
    "clean rho_Acc": "rho_Acc after the defense was applied to a clean counter, which shows what "
                     "it costs where there is no backdoor.",
    "strongest attack": "The entered attack that lowers the RA of this defense most.",
    "its RA": "The RA of the defense after the strongest attack, plus what its trigger takes from "
              "a clean counter. It determines the rank where it is lower than RA.",
    "RA - none": "The difference in RA from no defense.",
    "RA - best": "The difference in RA from the defense of rank 1.",
    "damage left": "What the attack still costs after the best defense: the RA of a clean counter "
                   "minus the RA after that defense; more is better for the attacker.",
    "best defense": "The defense of the grid with the highest RA after this attack.",
    "RA best": "The RA after the best defense.",
    "RA clean counter": "The RA of a clean counter that was never attacked, on the same images.",
    "RA undefended": "The RA of the attacked counter without a defense.",
    "rho_Acc clean counter": "The rho_Acc of a clean counter that was never attacked.",
    "rho_Acc - clean counter": "What the attack costs on clean images: the rho_Acc of the attacked "
                               "counter minus that of the clean one.",
    "rho_Acc - clean counter 95%, seeds": "The 95% t interval of this difference over seeds.",
    "MAE clean counter": "The MAE of a clean counter that was never attacked, in people.",
    "PSNR": "The similarity of images with the trigger and their originals, in dB; more is less "
            "visible.",
    "SSIM": "The structural similarity of images with the trigger and their originals; 1 is "
            "identical.",
    "poisoned": "The share of the training images that are poisoned, cover copies included.",
    "label distortion": "How far the false head counts are from the true ones: the mean of "
                        "|log(attacker's count / truth)|.",
    "found by": "The detector that finds the triggered images best, with its AUROC; 0.5 is a "
                "guess, and 1 finds all.",
    "damage - first": "The difference in the damage left from the attack of rank 1.",
    "opposite": "The flip rate in the direction that the attacker does not want.",
    "shift": "The median over images of the count with the trigger divided by that without it; 1 "
             "is no change.",
    "other counters": "The lowest and the highest shift of the other counters with the same "
                      "trigger, and their number.",
    "reading": "What the numbers of this row say, in words.",
    "strength": "How strong the repair is: its number of pruned channels, or the product of the "
                "settings that determine it, such as the learning rate; 'chosen' is what the "
                "defense chose itself on clean validation images.",
}
OF_A_DIFFERENCE = {  # how the heading of a test begins or ends
    "of each seed": "The difference with each seed alone, in the order of the seeds.",
    "seeds": "The chance of such a difference if the method made none, by a test over seeds; if "
             "both p are below 0.05 with at least five seeds, it is shown for other counters "
             "trained in the same way.",
    "images": "The chance of such a difference if there were none between these very counters, by "
              "a test over images; below 0.05 it is shown for these counters.",
    "counters": "The chance of such a shift for a counter without a backdoor, by a test against "
                "the other counters.",
}


def explain(heading: str) -> str | None:
    """One sentence about a column; None for a column that nobody described.

    >>> explain("seconds")
    'The duration of the repair on the machines of the records.'
    >>> explain("p none, seeds") == explain("p best, seeds")
    True
    """
    if heading in MEASURES:
        return MEASURES[heading]
    if heading.startswith("RA retrain"):
        return "The RA of a counter that was trained anew on clean images."
    if heading.endswith("of each seed"):
        return OF_A_DIFFERENCE["of each seed"]
    is_p = heading.startswith("p ") or heading.startswith("p,") or " p, " in heading
    return OF_A_DIFFERENCE.get(heading.rpartition(", ")[2]) if is_p else None
