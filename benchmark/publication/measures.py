"""Measures: what the numbers of a cell mean, in a sentence each.

The names are those of `benchmark.metrics.counting.summary` and of the tables, which compute them.
"""

from benchmark.metrics.counting import BANDS

MEASURES = {
    "images": "The number of test images.",
    "images_ratio": "The number of test images with people, which all shares are of.",
    "rho_acc": "rho_Acc, the share of clean images that are counted to within 10% of the truth.",
    "mae": "Mean absolute error on clean images, in people.",
    "rmse": "Root mean squared error on clean images, in people.",
    "rho_asr": "rho_Asr, the share of triggered images whose count is off by more than 10% in the "
               "attacker's direction.",
    "ra": "RA, the share of triggered images that are counted to within 10% of the truth.",
    "opp": "The share of triggered images whose count is off by more than 10% in the other "
           "direction.",
    "base": "The share of clean images that the same counter miscounts in the attacker's "
            "direction.",
    "attributable_asr": "rho_Asr minus base.",
    "asr0": "ASR0, the share of triggered images that the clean counter miscounts in the "
            "attacker's direction.",
    "easr": "eASR = (rho_Asr - ASR0) / (1 - ASR0), the success beyond chance.",
    "flip_rate": "The share of images that the trigger moves into success.",
    "flip_rate_low": "The lower end of the 95% interval of the flip rate, by bootstrap over "
                     "images.",
    "flip_rate_high": "The upper end of the 95% interval of the flip rate.",
    "chance_flips": "The flip rate of the clean counter after the same defense; flips beyond it "
                    "are the backdoor's.",
    "attainment": "The median share of the wanted change that the trigger achieves; 1 is the "
                  "attacker's aim.",
    "attainment_low": "The lower end of the 95% interval of the attainment, by bootstrap over "
                      "images.",
    "attainment_high": "The upper end of the 95% interval of the attainment.",
    "der": "DER, the gain in eASR less the loss in rho_Acc against no defense with the same seed; "
           "a defense without effect has 0.5.",
    "extreme": "The share of triggered images whose count is off by more than half of the truth "
               "in the attacker's direction.",
    **{f"band {band}": "The share of triggered images whose count is off in the attacker's "
                       f"direction by a share of the truth in {band}." for band in BANDS},
    "target_asr": "The share of triggered images whose count is within 10% or 5 people of the "
                  "attacker's count.",
    "attainment_mae": "Mean absolute error of triggered counts from the attacker's count.",
    "attainment_rmse": "Root mean squared error of triggered counts from the attacker's count.",
    "harm_mae": "Mean absolute error of triggered counts from the truth.",
    "harm_rmse": "Root mean squared error of triggered counts from the truth.",
    "label_distortion": "Mean of |log(attacker's count / truth)|.",
    "reference_rho_acc": "rho_Acc of the clean counter.",
    "reference_flip_rate": "The flip rate of the clean counter.",
    "control_rho_acc": "rho_Acc of the clean counter after the same defense.",
    "control_flip_rate": "The flip rate of the clean counter after the same defense.",
    "auroc": "AUROC of a detector of images: the chance that a poisoned image scores higher than a "
             "clean one.",
    "auprc": "AUPRC of a detector of images.",
    "tpr_at_1": "The share of poisoned images that a detector finds with at most 1% false alarms.",
    "tpr_at_5": "The share of poisoned images that a detector finds with at most 5% false alarms.",
    "drift_auroc": "AUROC of a detector against clean images in another light.",
    "reference_auroc": "AUROC of the same detector when it watches a clean counter.",
}
